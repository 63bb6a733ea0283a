-- guard: job and attempt, ready: nobody took it since
update jobs set state = 'leased', worker = $3, lane = $4, changed_at = $5, term = $6
where id = $1 and attempt = $2 and state = 'ready'
