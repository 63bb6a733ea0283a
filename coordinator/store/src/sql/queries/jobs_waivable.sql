-- reads: jobs of a sweep that nobody holds and that have no result
select j.id from sweep_jobs s join jobs j on j.id = s.job
where s.sweep = $1 and j.state in ('blocked', 'ready', 'backoff', 'failed', 'cancelled')
    and ($3 = 0 or j.id in (select cast(value as bigint) from json_each($2)))
