-- guard: the jobs were inserted in this transaction
insert into job_inputs (job, name, needs, path, digest)
select j.value ->> 'job', j.value ->> 'name', j.value ->> 'needs', j.value ->> 'path', j.value ->> 'digest'
from json_each(?1) j
