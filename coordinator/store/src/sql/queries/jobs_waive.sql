-- guard: nobody holds the job, and it has no result
update jobs set state = 'skipped', not_before = null, finished_at = $2, changed_at = $2, term = $3
where state in ('blocked', 'ready', 'backoff', 'failed', 'cancelled')
    and id in (select cast(value as bigint) from json_each($1))
