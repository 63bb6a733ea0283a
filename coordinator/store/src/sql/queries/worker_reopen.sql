-- guard: no newer process took the worker's place
update workers set host = $2, version = $3, lanes = $4, lane_count = $5, state = 'live', leaving = $6,
    lease_expires_at = $7, seen_at = $8, term = $9
where id = $1 and state <> 'superseded'
