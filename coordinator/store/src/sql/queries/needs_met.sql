-- guard: the needed jobs succeeded in this transaction, which happens once
update jobs
set pending_deps = pending_deps - d.met,
    state = case when state = 'blocked' and pending_deps = d.met then 'ready' else state end, changed_at = $2, term = $3
from (
    select i.job, count(distinct i.needs) as met
    from (select cast(value as bigint) as job from json_each($1)) t
    cross join job_inputs i
    where i.needs = t.job group by i.job
) d
where jobs.id = d.job
