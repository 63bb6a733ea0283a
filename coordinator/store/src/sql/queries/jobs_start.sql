-- guard: job, attempt and worker, offered
update jobs set state = 'running', changed_at = $2, term = $3
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'attempt' as bigint) as attempt,
        cast(value ->> 'worker' as bigint) as worker
    from json_each($1)
) t
where jobs.id = t.job and jobs.attempt = t.attempt and jobs.worker = t.worker and jobs.state = 'leased'
