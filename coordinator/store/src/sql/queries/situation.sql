-- reads: a job and who holds it
select j.label, j.state, j.tries_left, j.not_before, j.pending_deps, j.avoid, j.owner, j.error_code, j.error,
    j.priority, j.coverage, j.tokens, w.name as worker, a.started_at, a.progress_at
from jobs j
left join attempts a on a.job = j.id and a.attempt = j.attempt
left join workers w on w.id = j.worker
where j.id = $1
