-- guard: the jobs succeeded in this transaction; job and role are unique
insert into job_artifacts (job, role, attempt, path, digest, bytes, metrics, created_at)
select cast(value ->> 'job' as bigint), value ->> 'role', cast(value ->> 'attempt' as bigint), value ->> 'path',
    value ->> 'digest', cast(value ->> 'bytes' as bigint), value ->> 'metrics', $2
from json_each($1)
