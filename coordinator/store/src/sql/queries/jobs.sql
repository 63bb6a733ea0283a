-- reads: some jobs of a sweep in plan order
select j.id, j.key, s.stage, j.label, j.state, j.attempt, j.tries_left, j.error_code, j.error, j.finished_at,
    w.name as worker, a.started_at, a.step, a.total, a.tokens, a.loss, r.path, r.digest
from sweep_jobs s
join jobs j on j.id = s.job
left join attempts a on a.job = j.id and a.attempt = j.attempt
left join workers w on w.id = a.worker
left join job_artifacts r on r.job = j.id
where s.sweep = $1 and (cast($2 as text) is null or s.stage = $2) and (cast($3 as text) is null or j.state = $3)
order by s.ordinal limit $4
