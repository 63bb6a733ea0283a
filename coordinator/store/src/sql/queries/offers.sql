-- reads: claimed jobs in the order of the claim
select j.id, j.attempt, j.key, j.kind, j.label, j.spec, j.fan, j.fan_limits, j.halvings, a.trace,
    (select w.name from sweep_jobs s join sweeps w on w.id = s.sweep
     where s.job = j.id and w.state = 'running' order by w.id desc limit 1) as sweep
from json_each($1) c join jobs j on j.id = cast(c.value as bigint)
    join attempts a on a.job = j.id and a.attempt = j.attempt
order by c.key
