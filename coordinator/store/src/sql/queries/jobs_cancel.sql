-- guard: the job has not ended
update jobs
set state = 'cancelled', worker = null, lane = null, not_before = null, finished_at = $2, changed_at = $2, term = $3
where state in ('blocked', 'ready', 'leased', 'running', 'backoff')
    and id in (select cast(value as bigint) from json_each($1))
returning id
