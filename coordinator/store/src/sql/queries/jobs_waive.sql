-- guard: nobody holds the job, and it has no result
update jobs set state = 'skipped', not_before = null, finished_at = $2, changed_at = $2, term = $3
from (select cast(value as bigint) as job from json_each($1)) t
where jobs.id = t.job and jobs.state in ('blocked', 'ready', 'backoff', 'failed', 'cancelled')
