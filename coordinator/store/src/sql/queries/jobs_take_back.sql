-- guard: job and attempt, held
update jobs set state = 'ready', worker = null, lane = null, changed_at = $2, term = $3
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'attempt' as bigint) as attempt from json_each($1)
) t
where jobs.id = t.job and jobs.attempt = t.attempt and jobs.state in ('leased', 'running')
