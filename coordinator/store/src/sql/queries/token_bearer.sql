-- reads: who holds a token
select name, role from tokens where hash = $1 and revoked_at is null
