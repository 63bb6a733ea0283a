-- reads: who holds a token, and until when
select name, role, expires_at, revoked_at from tokens where hash = $1
