-- guard: a name is given once
insert into tokens (name, role, hash, created_at, expires_at) values ($1, $2, $3, $4, $5) on conflict do nothing
