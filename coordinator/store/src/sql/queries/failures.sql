-- reads: a sweep's first jobs that failed or were waived, found from these
select j.id, j.label, s.stage, j.state, j.error_code, j.error
from jobs j cross join sweep_jobs s
where j.state in ('failed', 'skipped') and s.sweep = $1 and s.job = j.id
order by j.id limit $2
