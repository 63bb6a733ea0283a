-- reads: jobs of a sweep that ended without a result
select j.id from sweep_jobs s join jobs j on j.id = s.job where s.sweep = $1 and j.state in ('failed', 'cancelled')
