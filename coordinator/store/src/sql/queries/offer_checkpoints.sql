-- reads: checkpoints of claimed jobs, the one to resume from last
select job, step, path, digest from checkpoints
where job in (select cast(value as bigint) from json_each($1))
order by job, step, attempt
