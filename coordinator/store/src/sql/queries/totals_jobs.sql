-- reads: jobs by state over all sweeps
select state, cast(sum(jobs) as bigint) as jobs from counters group by state having sum(jobs) > 0
