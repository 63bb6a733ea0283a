-- guard: the jobs are ready and nobody else has them under way; the attempt grows
update jobs
set state = 'leased', attempt = attempt + 1, worker = $2, lane = $3, not_before = null, changed_at = $4, term = $5
where state = 'ready' and id in (
    select id from jobs where state = 'ready' and id in (select cast(value as bigint) from json_each($1))
    for update skip locked
)
returning id
