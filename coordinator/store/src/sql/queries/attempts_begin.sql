-- guard: the jobs were claimed in this transaction; job and attempt are unique
insert into attempts (job, attempt, worker, lane, fan, term, started_at, progress_at)
select id, attempt, worker, lane, fan, $3, $2, $2 from jobs where id in (select cast(value as bigint) from json_each($1))
