-- reads: a sweep's jobs that a worker holds, found from what is held
select s.ordinal, s.stage, j.id, j.attempt, j.tokens as planned, a.step, a.total, a.tokens, a.loss
from jobs j cross join sweep_jobs s cross join attempts a
where j.state in ('leased', 'running') and s.sweep = $1 and s.job = j.id and a.job = j.id and a.attempt = j.attempt
