-- guard: the jobs are ready and nobody else has them under way; the attempt grows
update jobs
set state = 'leased', attempt = attempt + 1, worker = t.worker, lane = t.lane, not_before = null, changed_at = $2, term = $3
from (
    select j.id, cast(c.value ->> 'worker' as bigint) as worker, cast(c.value ->> 'lane' as bigint) as lane
    from json_each($1) c join jobs j on j.id = cast(c.value ->> 'job' as bigint)
    where j.state = 'ready'
    for update of j skip locked
) t
where jobs.id = t.id and jobs.state = 'ready'
returning jobs.id
