-- reads: every job as the invariants see it
select id, state, attempt, pending_deps, finished_at, case when worker is null then 0 else 1 end as held,
    (select count(*) from job_artifacts a where a.job = jobs.id) as artifacts
from jobs order by id
