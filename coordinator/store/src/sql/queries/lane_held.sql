-- reads: what a lane holds, by owner and fan
select owner, fan, count(*) as held, min(group_limit) as group_limit from jobs
where state in ('leased', 'running') and worker = $1 and lane = $2
group by owner, fan
