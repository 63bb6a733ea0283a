-- reads: what sessions hold
select j.id, j.attempt, j.state, j.worker, a.started_at
from jobs j join attempts a on a.job = j.id and a.attempt = j.attempt
where j.state in ('leased', 'running') and j.worker in (select cast(value as bigint) from json_each($1))
order by j.id
