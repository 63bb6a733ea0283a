-- guard: the sweep has ended
update sweeps set state = 'running', finished_at = null, changed_at = $2, term = $3 where id = $1 and state <> 'running'
