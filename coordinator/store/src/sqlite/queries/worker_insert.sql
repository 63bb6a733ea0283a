-- guard: no session of this process was found in this transaction; name and incarnation are unique
insert into workers (name, incarnation, host, version, lanes, state, lease_expires_at, seen_at, term)
values (?1, ?2, ?3, ?4, ?5, 'live', ?6, ?7, ?8)
returning id
