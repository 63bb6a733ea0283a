-- guard: jobs of this transaction failed on these machines and succeeded elsewhere
update workers set blamed = blamed + t.times
from (select value ->> 'host' as name, cast(value ->> 'times' as bigint) as times from json_each($1)) t
where workers.host = t.name and state <> 'superseded'
