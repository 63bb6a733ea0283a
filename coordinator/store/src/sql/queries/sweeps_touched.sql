-- reads: live sweeps that contain one of some jobs
select distinct w.id
from (select cast(value as bigint) as job from json_each($1)) t
cross join sweep_jobs s join sweeps w on w.id = s.sweep
where s.job = t.job and w.state = 'running'
