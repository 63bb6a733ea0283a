-- reads: checkpoints of claimed jobs, the one to resume from last
select c.job, c.step, c.path, c.digest from json_each(?1) k
join checkpoints c on c.job = k.value
order by c.job, c.step, c.attempt
