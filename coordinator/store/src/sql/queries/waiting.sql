-- reads: jobs that wait for one of some jobs, with all that they lack
select i.job, j.may_miss, i.needs, n.state, cast(min(i.optional) as bigint) as optional
from job_inputs i join jobs j on j.id = i.job join jobs n on n.id = i.needs
where j.state = 'blocked' and n.state <> 'succeeded'
    and i.job in (select job from job_inputs where needs in (select cast(value as bigint) from json_each($1)))
group by i.job, j.may_miss, i.needs, n.state
