-- guard: the least of all sweeps that share a job counts
update jobs set may_miss = t.may_miss
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'may_miss' as bigint) as may_miss from json_each($1)
) t
where jobs.id = t.job and jobs.may_miss > t.may_miss
