-- reads: jobs of a sweep that a retry would change
select j.id from sweep_jobs s join jobs j on j.id = s.job
where s.sweep = ?1 and j.state in ('failed', 'cancelled', 'skipped')
    and (json_array_length(?2) = 0 or j.id in (select value from json_each(?2)))
