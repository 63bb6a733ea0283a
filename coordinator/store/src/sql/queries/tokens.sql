-- reads: all tokens
select name, role, created_at, expires_at, revoked_at from tokens order by name
