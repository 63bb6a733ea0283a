-- When a token ends by itself; none does that has no such time.
alter table tokens add column expires_at integer;
