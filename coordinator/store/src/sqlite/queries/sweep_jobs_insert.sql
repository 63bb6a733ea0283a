-- guard: the sweep was inserted in this transaction
insert into sweep_jobs (sweep, job, stage, ordinal, result)
select ?1, j.value ->> 'job', j.value ->> 'stage', j.value ->> 'ordinal', j.value ->> 'result'
from json_each(?2) j
order by j.key
