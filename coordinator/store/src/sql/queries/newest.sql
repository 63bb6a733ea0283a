-- reads: a job's newest attempt
select key, attempt, state from jobs where id = $1
