-- guard: the jobs were claimed in this transaction; job and attempt are unique
insert into attempts (job, attempt, worker, lane, fan, term, started_at, progress_at, trace)
select j.id, j.attempt, j.worker, j.lane, j.fan, $3, $2, $2,
    (select w.trace from sweep_jobs s join sweeps w on w.id = s.sweep
     where s.job = j.id and w.state = 'running' order by w.id desc limit 1)
from (select cast(value as bigint) as job from json_each($1)) t
cross join jobs j
where j.id = t.job
