-- reads: live sweeps that contain one of some jobs
select distinct w.id from json_each(?1) j
join sweep_jobs s on s.job = j.value
join sweeps w on w.id = s.sweep
where w.state = 'running'
