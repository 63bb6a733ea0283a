-- reads: every attempt's outcome
select job, attempt, outcome from attempts order by job, attempt
