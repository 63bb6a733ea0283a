-- reads: all tokens
select name, role, created_at, revoked_at from tokens order by name
