-- guard: the job succeeded in this transaction; job and role are unique
insert into job_artifacts (job, role, attempt, path, digest, bytes, metrics, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
