-- reads: ready jobs, best first
select id, fan, group_limit from jobs where state = 'ready' order by priority desc, tokens desc, id limit ?1
