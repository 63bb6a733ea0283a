-- guard: the needed jobs were waived in this transaction, and stand among the inputs until they are dropped
update jobs
set pending_deps = pending_deps - t.missed,
    may_miss = case when may_miss > t.missed then may_miss - t.missed else 0 end,
    state = case when state = 'blocked' and pending_deps = t.missed then 'ready' else state end, changed_at = $2, term = $3
from (
    select job, count(*) as missed from (
        select job, needs from job_inputs where needs in (select cast(value as bigint) from json_each($1))
        group by job, needs having min(optional) = 1
    ) d group by job
) t
where jobs.id = t.job
