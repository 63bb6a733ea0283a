-- guard: no newer process took the worker's place
update workers set host = ?2, version = ?3, lanes = ?4, state = 'live', lease_expires_at = ?5, seen_at = ?6, term = ?7
where id = ?1 and state <> 'superseded'
