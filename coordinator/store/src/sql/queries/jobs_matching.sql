-- reads: how many jobs of a sweep match, from its counters
select cast(coalesce(sum(jobs), 0) as bigint) as n from counters
where sweep = $1 and (cast($2 as text) is null or stage = $2) and (cast($3 as text) is null or state = $3)
