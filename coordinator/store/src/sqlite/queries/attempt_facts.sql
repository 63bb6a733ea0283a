-- reads: what decides about one attempt
select j.attempt as newest, j.state, j.tries_left, j.group_limit, a.worker, a.lane, a.fan, a.outcome, a.started_at
from jobs j left join attempts a on a.job = j.id and a.attempt = ?2
where j.id = ?1
