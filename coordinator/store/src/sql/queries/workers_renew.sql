-- guard: the sessions are live
update workers set lease_expires_at = $2, seen_at = $3, term = $4, leaving = t.leaving
from (
    select cast(value ->> 'worker' as bigint) as worker, cast(value ->> 'leaving' as bigint) as leaving from json_each($1)
) t
where workers.id = t.worker and state = 'live'
returning id, drain_grace_ms
