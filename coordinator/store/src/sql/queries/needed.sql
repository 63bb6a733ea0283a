-- reads: the first of some jobs that another, which waits and is none of them, cannot do without
select n.label, j.label as needed_by
from job_inputs i join jobs j on j.id = i.job join jobs n on n.id = i.needs
where j.state = 'blocked' and i.optional = 0
    and i.needs in (select cast(value as bigint) from json_each($1))
    and i.job not in (select cast(value as bigint) from json_each($1))
order by i.needs, i.job limit 1
