-- reads: what sessions hold
select j.id, j.attempt, j.state, j.worker, a.started_at
from (select cast(value as bigint) as worker from json_each($1)) t
cross join jobs j join attempts a on a.job = j.id and a.attempt = j.attempt
where j.worker = t.worker and j.state in ('leased', 'running')
