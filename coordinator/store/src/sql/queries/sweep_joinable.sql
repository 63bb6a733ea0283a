-- reads: a live sweep that asks for the same, or one that has it all
select w.id from sweeps w
where w.manifest_digest = $1 and (w.state = 'running' or (w.state = 'succeeded' and not exists (
    select 1 from counters c where c.sweep = w.id and c.state = 'skipped' and c.jobs > 0
)))
order by w.id desc limit 1
