-- reads: ready jobs, best first, without those of owners who have all lanes that they may
select id, fan, group_limit, owner, avoid from jobs
where state = 'ready' and owner not in (select value ->> 'owner' from json_each($2))
order by priority desc, coverage desc, tokens desc, id limit $1
