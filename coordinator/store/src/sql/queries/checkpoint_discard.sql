-- guard: the newest checkpoint of a job whose loss was not finite after it
delete from checkpoints
where job = $1 and not exists (select 1 from checkpoints n where n.job = $1
    and (n.step > checkpoints.step or (n.step = checkpoints.step and n.attempt > checkpoints.attempt)))
