-- guard: the job has not ended
update jobs
set state = 'cancelled', worker = null, lane = null, not_before = null, finished_at = $2, changed_at = $2, term = $3
from (select cast(value as bigint) as job from json_each($1)) t
where jobs.id = t.job and jobs.state in ('blocked', 'ready', 'leased', 'running', 'backoff')
returning id
