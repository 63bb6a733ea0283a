-- guard: the job ended without an artifact
update jobs
set state = iif(pending_deps = 0, 'ready', 'blocked'), tries_left = ?2, group_limit = null, not_before = null,
    error_code = null, error = null, finished_at = null, changed_at = ?3, term = ?4
where id in (select value from json_each(?1)) and state in ('failed', 'cancelled', 'skipped')
returning id
