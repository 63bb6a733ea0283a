-- reads: live jobs of a sweep that no other live sweep needs
select j.id from sweep_jobs s join jobs j on j.id = s.job
where s.sweep = $1 and j.state in ('blocked', 'ready', 'leased', 'running', 'backoff')
    and ($3 = 0 or j.id in (select cast(value as bigint) from json_each($2)))
    and not exists (
        select 1 from sweep_jobs o join sweeps w on w.id = o.sweep
        where o.job = s.job and o.sweep <> $1 and w.state = 'running'
    )
