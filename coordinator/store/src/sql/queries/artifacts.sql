-- reads: every artifact that the table refers to, with its job; of one sweep where it is named
select r.job as id, j.kind, j.label, r.role, r.attempt, r.path, r.digest, r.bytes
from (
    select job, 0 as rank, role, attempt, path, digest, bytes from job_artifacts
    union all select job, 1, 'checkpoint', attempt, path, digest, null from checkpoints
    union all select job, 2, 'input ' || name, 0, path, digest, null from job_inputs where digest is not null
) r join jobs j on j.id = r.job
where cast($1 as bigint) is null
    or exists (select 1 from sweep_jobs s where s.sweep = $1 and s.job = r.job)
order by r.job, r.rank, r.role, r.path
