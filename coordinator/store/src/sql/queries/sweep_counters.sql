-- reads: a sweep's jobs by state
select state, cast(sum(jobs) as bigint) as jobs, cast(sum(tokens) as bigint) as tokens,
    cast(sum(device_ms) as bigint) as device_ms
from counters where sweep = $1 group by state having sum(jobs) > 0
