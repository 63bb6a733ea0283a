-- reads: checkpoints of claimed jobs
select c.job, c.step, c.attempt, c.path, c.digest
from (select cast(value as bigint) as job from json_each($1)) t
cross join checkpoints c
where c.job = t.job
