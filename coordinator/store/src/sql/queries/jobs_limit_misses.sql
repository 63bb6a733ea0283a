-- guard: while other live sweeps share a job, the least that any of them allows counts
update jobs set may_miss = t.may_miss
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'may_miss' as bigint) as may_miss from json_each($1)
) t
where jobs.id = t.job and (jobs.may_miss > t.may_miss or not exists (
    select 1 from sweep_jobs s join sweeps w on w.id = s.sweep
    where s.job = t.job and w.id <> $2 and w.state = 'running'
))
