-- guard: the jobs were found in this transaction
update jobs set key = t.key
from (select cast(value ->> 'job' as bigint) as job, value ->> 'key' as key from json_each($1)) t
where jobs.id = t.job
