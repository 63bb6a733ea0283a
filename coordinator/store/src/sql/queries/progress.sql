-- guard: the attempts live
update attempts
set step = t.step, total = t.total, tokens = t.tokens, loss = t.loss,
    progress_at = case when attempts.step = t.step and attempts.tokens = t.tokens then progress_at else $2 end
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'attempt' as bigint) as attempt,
        cast(value ->> 'step' as bigint) as step, cast(value ->> 'total' as bigint) as total,
        cast(value ->> 'tokens' as bigint) as tokens, cast(value ->> 'loss' as double precision) as loss
    from json_each($1)
) t
where attempts.job = t.job and attempts.attempt = t.attempt and outcome is null
