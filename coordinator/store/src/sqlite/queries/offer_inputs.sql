-- reads: inputs of claimed jobs, those of other jobs resolved to what these committed
select i.job, i.name, coalesce(a.path, i.path) as path, coalesce(a.digest, i.digest) as digest
from json_each(?1) c
join job_inputs i on i.job = c.value
left join job_artifacts a on a.job = i.needs
order by i.job, i.name
