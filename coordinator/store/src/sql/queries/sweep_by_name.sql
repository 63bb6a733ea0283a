-- reads: the newest sweep of a name
select id, name, state, created_at, finished_at from sweeps where name = $1 order by id desc limit 1
