-- reads: ready jobs of one fan, best first
select id, fan, group_limit from jobs
where state = 'ready' and fan = ?2 order by priority desc, tokens desc, id limit ?1
