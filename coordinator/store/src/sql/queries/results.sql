-- reads: a sweep's committed results in plan order
select s.stage, j.label, a.role, a.path, a.digest, a.metrics
from sweep_jobs s cross join jobs j cross join job_artifacts a
where s.sweep = $1 and s.result = 1 and j.id = s.job and a.job = j.id
order by s.ordinal
