-- guard: the needed jobs were waived in this transaction, and all inputs from them are optional
delete from job_inputs
where needs in (select cast(value as bigint) from json_each($1)) and optional = 1
    and not exists (
        select 1 from job_inputs o where o.job = job_inputs.job and o.needs = job_inputs.needs and o.optional = 0
    )
