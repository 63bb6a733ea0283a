-- guard: the jobs are ready; the attempt grows
update jobs
set state = 'leased', attempt = attempt + 1, worker = t.worker, lane = t.lane, not_before = null, changed_at = $2, term = $3
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'worker' as bigint) as worker,
        cast(value ->> 'lane' as bigint) as lane
    from json_each($1)
) t
where jobs.id = t.job and jobs.state = 'ready'
returning id
