-- reads: what decides about some attempts, and the newest of a job where there is no such attempt
select j.id, t.attempt, j.attempt as newest, j.state, j.tries_left, j.group_limit, j.halvings, j.avoid, a.worker, a.lane, a.fan,
    a.outcome, a.started_at
from (
    select cast(value ->> 'job' as bigint) as job, cast(value ->> 'attempt' as bigint) as attempt from json_each($1)
) t
join jobs j on j.id = t.job
left join attempts a on a.job = t.job and a.attempt = t.attempt
