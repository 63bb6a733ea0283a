-- guard: the jobs were inserted in this transaction
insert into job_inputs (job, name, needs, path, digest)
select cast(value ->> 'job' as bigint), value ->> 'name', cast(value ->> 'needs' as bigint), value ->> 'path',
    value ->> 'digest'
from json_each($1)
