-- reads: live sweeps that contain one of some jobs
select distinct w.id from sweep_jobs s join sweeps w on w.id = s.sweep
where w.state = 'running' and s.job in (select cast(value as bigint) from json_each($1))
order by w.id
