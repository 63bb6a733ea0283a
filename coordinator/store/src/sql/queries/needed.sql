-- reads: the first of some jobs that another, which waits and is none of them, cannot do without
select n.label, j.label as needed_by
from (select cast(value as bigint) as job from json_each($1)) t
cross join job_inputs i join jobs j on j.id = i.job join jobs n on n.id = i.needs
where i.needs = t.job and i.optional = 0 and j.state = 'blocked'
    and i.job not in (select cast(value as bigint) from json_each($1))
order by i.needs, i.job limit 1
