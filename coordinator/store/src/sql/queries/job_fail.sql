-- guard: job, attempt and worker, held
update jobs
set state = $4, worker = null, lane = null, tries_left = $5, group_limit = $6, not_before = $7, error_code = $8,
    error = $9, finished_at = $10, changed_at = $11, term = $12, halvings = $13, avoid = $14
where id = $1 and attempt = $2 and worker = $3 and state in ('leased', 'running')
