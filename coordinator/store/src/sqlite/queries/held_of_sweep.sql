-- reads: a sweep's jobs that a worker holds, found from what is held
select s.stage, j.id, j.attempt, j.tokens as planned, a.step, a.total, a.tokens, a.loss
from jobs j
cross join sweep_jobs s on s.sweep = ?1 and s.job = j.id
cross join attempts a on a.job = j.id and a.attempt = j.attempt
where j.state in ('leased', 'running')
order by s.ordinal
