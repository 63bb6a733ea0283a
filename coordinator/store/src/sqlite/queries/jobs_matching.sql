-- reads: how many jobs of a sweep match, from its counters
select coalesce(sum(jobs), 0) as n from counters
where sweep = ?1 and (?2 is null or stage = ?2) and (?3 is null or state = ?3)
