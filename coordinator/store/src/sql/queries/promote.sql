-- guard: the wait is over
update jobs set state = 'ready', not_before = null, changed_at = $1, term = $2
where state = 'backoff' and not_before <= $1
