-- reads: a sweep's first failed jobs, found from what failed
select j.id, j.label, s.stage, j.error_code, j.error
from jobs j cross join sweep_jobs s
where j.state = 'failed' and s.sweep = $1 and s.job = j.id
order by j.id limit $2
