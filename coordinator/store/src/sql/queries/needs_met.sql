-- guard: the needed jobs succeeded in this transaction, which happens once
update jobs
set pending_deps = pending_deps - t.met,
    state = case when state = 'blocked' and pending_deps = t.met then 'ready' else state end, changed_at = $2, term = $3
from (
    select job, count(distinct needs) as met from job_inputs
    where needs in (select cast(value as bigint) from json_each($1)) group by job
) t
where jobs.id = t.job
