-- guard: a priority only grows
update jobs set priority = $2, changed_at = $3, term = $4
from (select cast(value as bigint) as job from json_each($1)) t
where jobs.id = t.job and jobs.priority < $2
