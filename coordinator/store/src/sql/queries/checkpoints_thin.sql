-- guard: a newer pair of the job's checkpoints is recorded
delete from checkpoints
where job = $1 and (select count(*) from checkpoints n where n.job = $1
    and (n.step > checkpoints.step or (n.step = checkpoints.step and n.attempt > checkpoints.attempt))) >= 2
