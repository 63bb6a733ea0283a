-- reads: ready jobs of one fan, best first, without those of owners who have all lanes that they may
select id, fan, group_limit, owner, avoid from jobs
where state = 'ready' and fan = $3 and not exists (select 1 from json_each($2) where value ->> 'owner' = owner)
order by priority desc, coverage desc, tokens desc, id limit $1
