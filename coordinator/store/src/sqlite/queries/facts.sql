-- reads: every job as the invariants see it
select id, state, attempt, pending_deps, finished_at, worker is not null as has_worker,
    (select count(*) from job_artifacts a where a.job = jobs.id) as artifacts
from jobs order by id
