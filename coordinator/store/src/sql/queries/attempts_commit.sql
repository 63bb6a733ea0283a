-- guard: the attempts live
update attempts set ended_at = $2, outcome = 'committed', device_ms = t.device_ms
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'attempt' as bigint) as attempt,
        cast(value ->> 'device_ms' as bigint) as device_ms
    from json_each($1)
) t
where attempts.job = t.job and attempts.attempt = t.attempt and outcome is null
