-- reads: a sweep's stages in order with their counters
select s.name, c.state, c.jobs, c.tokens, c.device_ms
from stages s left join counters c on c.sweep = s.sweep and c.stage = s.name and c.jobs > 0
where s.sweep = $1
order by s.ordinal
