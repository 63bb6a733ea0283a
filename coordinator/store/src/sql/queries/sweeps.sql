-- reads: all sweeps, newest first
select id, name, state, created_at, finished_at from sweeps order by id desc
