-- reads: what some jobs committed
select job as id, attempt, path, digest from job_artifacts
where job in (select cast(value as bigint) from json_each($1))
