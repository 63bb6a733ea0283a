-- reads: inputs of claimed jobs, those of other jobs resolved to what these committed
select i.job, i.name, coalesce(a.path, i.path) as path, coalesce(a.digest, i.digest) as digest
from (select cast(value as bigint) as job from json_each($1)) t
cross join job_inputs i left join job_artifacts a on a.job = i.needs
where i.job = t.job
