-- reads: a sweep's jobs by state
select state, sum(jobs) as jobs, sum(tokens) as tokens, sum(device_ms) as device_ms
from counters where sweep = ?1 group by state having sum(jobs) > 0
