-- reads: jobs of a sweep that a retry would change
select j.id from sweep_jobs s join jobs j on j.id = s.job
where s.sweep = $1 and j.state in ('failed', 'cancelled', 'skipped')
    and ($3 = 0 or j.id in (select cast(value as bigint) from json_each($2)))
