-- reads: a sweep's committed results in plan order
select s.stage, j.label, a.role, a.path, a.digest, a.metrics
from sweep_jobs s
cross join jobs j on j.id = s.job
cross join job_artifacts a on a.job = j.id
where s.sweep = ?1 and s.result = 1
order by s.ordinal
