-- reads: one sweep
select id, name, state, created_at, finished_at from sweeps where id = $1
