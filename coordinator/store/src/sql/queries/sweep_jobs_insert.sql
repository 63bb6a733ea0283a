-- guard: the sweep was inserted in this transaction
insert into sweep_jobs (sweep, job, stage, ordinal, result)
select $1, cast(value ->> 'job' as bigint), value ->> 'stage', cast(value ->> 'ordinal' as bigint),
    cast(value ->> 'result' as bigint)
from json_each($2)
order by key
