-- reads: jobs that can do without one of some jobs, and all that need those, directly or not
select id, key from jobs where id in (
    with recursive behind (id) as (
        select job from (
            select job, needs from job_inputs where needs in (select cast(value as bigint) from json_each($1))
            group by job, needs having min(optional) = 1
        ) d
        union
        select i.job from job_inputs i join behind b on i.needs = b.id
    )
    select id from behind
)
