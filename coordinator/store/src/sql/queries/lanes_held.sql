-- reads: what lanes hold, by owner and fan
select j.worker, j.lane, j.owner, j.fan, count(*) as held, min(j.group_limit) as group_limit
from (select cast(value ->> 'worker' as bigint) as worker, cast(value ->> 'lane' as bigint) as lane from json_each($1)) t
cross join jobs j
where j.worker = t.worker and j.lane = t.lane and j.state in ('leased', 'running')
group by j.worker, j.lane, j.owner, j.fan
