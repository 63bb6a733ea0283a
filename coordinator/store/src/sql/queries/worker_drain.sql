-- guard: the worker was not replaced; an end of the drain forgives what it was blamed for
update workers set drain_grace_ms = $2, blamed = case when cast($2 as bigint) is null then 0 else blamed end, term = $3
where name = $1 and state <> 'superseded'
returning id
