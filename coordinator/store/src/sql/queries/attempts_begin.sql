-- guard: the jobs were claimed in this transaction; job and attempt are unique
insert into attempts (job, attempt, worker, lane, fan, term, started_at, progress_at, trace)
select id, attempt, worker, lane, fan, $3, $2, $2,
    (select w.trace from sweep_jobs s join sweeps w on w.id = s.sweep
     where s.job = jobs.id and w.state = 'running' order by w.id desc limit 1)
from jobs where id in (select cast(value as bigint) from json_each($1))
