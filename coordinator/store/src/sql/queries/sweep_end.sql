-- guard: the sweep runs
update sweeps set state = $2, finished_at = $3, changed_at = $3, term = $4 where id = $1 and state = 'running'
