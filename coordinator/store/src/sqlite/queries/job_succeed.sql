-- guard: job, attempt and worker, held
update jobs
set state = 'succeeded', worker = null, lane = null, device_ms = ?4, error_code = null, error = null,
    finished_at = ?5, changed_at = ?5, term = ?6
where id = ?1 and attempt = ?2 and worker = ?3 and state in ('leased', 'running')
