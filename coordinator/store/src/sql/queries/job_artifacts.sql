-- reads: what some jobs committed
select a.job as id, a.attempt, a.path, a.digest
from (select cast(value as bigint) as job from json_each($1)) t
cross join job_artifacts a
where a.job = t.job
