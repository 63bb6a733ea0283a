-- guard: a priority only grows
update jobs set priority = $2, changed_at = $3, term = $4
where priority < $2 and id in (select cast(value as bigint) from json_each($1))
