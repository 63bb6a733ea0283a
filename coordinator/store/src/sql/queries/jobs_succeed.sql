-- guard: job, attempt and worker, held
update jobs
set state = 'succeeded', worker = null, lane = null, device_ms = t.device_ms, error_code = null, error = null,
    finished_at = $2, changed_at = $2, term = $3
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'attempt' as bigint) as attempt,
        cast(value ->> 'worker' as bigint) as worker, cast(value ->> 'device_ms' as bigint) as device_ms
    from json_each($1)
) t
where jobs.id = t.job and jobs.attempt = t.attempt and jobs.worker = t.worker and jobs.state in ('leased', 'running')
