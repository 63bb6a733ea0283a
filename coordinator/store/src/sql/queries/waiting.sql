-- reads: jobs that wait for one of some jobs, with all that they lack
select i.job, j.may_miss, i.needs, n.state, cast(min(i.optional) as bigint) as optional
from (
    select distinct w.job
    from (select cast(value as bigint) as job from json_each($1)) t
    cross join job_inputs w
    where w.needs = t.job
) d
cross join job_inputs i join jobs j on j.id = i.job join jobs n on n.id = i.needs
where i.job = d.job and j.state = 'blocked' and n.state <> 'succeeded'
group by i.job, j.may_miss, i.needs, n.state
