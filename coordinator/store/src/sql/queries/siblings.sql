-- reads: others that shared the process of an attempt: they live in its lane, or died with it
select count(*) as n from attempts
where worker = $1 and lane = $2 and fan = $3 and job <> $4
    and (outcome is null or (outcome = 'collateral' and ended_at >= $5))
