-- reads: the group that runs in a lane
select count(*) as held, min(group_limit) as group_limit from jobs
where state in ('leased', 'running') and worker = ?1 and lane = ?2 and fan = ?3
