-- guard: no session of this process was found in this transaction; name and incarnation are unique
insert into workers (name, incarnation, host, version, lanes, lane_count, state, leaving, lease_expires_at, seen_at, term)
values ($1, $2, $3, $4, $5, $6, 'live', $7, $8, $9, $10)
returning id
