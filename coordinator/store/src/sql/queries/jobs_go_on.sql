-- guard: the needed jobs were waived in this transaction, and stand among the inputs until they are dropped
update jobs
set pending_deps = pending_deps - m.missed,
    may_miss = case when may_miss > m.missed then may_miss - m.missed else 0 end,
    state = case when state = 'blocked' and pending_deps = m.missed then 'ready' else state end, changed_at = $2, term = $3
from (
    select job, count(*) as missed from (
        select i.job, i.needs
        from (select cast(value as bigint) as job from json_each($1)) t
        cross join job_inputs i
        where i.needs = t.job group by i.job, i.needs having min(i.optional) = 1
    ) d group by job
) m
where jobs.id = m.job
