-- guard: the jobs were inserted in this transaction
insert into job_inputs (job, name, needs, path, digest, optional)
select cast(value ->> 'job' as bigint), value ->> 'name', cast(value ->> 'needs' as bigint), value ->> 'path',
    value ->> 'digest', cast(value ->> 'optional' as bigint)
from json_each($1)
