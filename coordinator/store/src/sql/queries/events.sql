-- reads: the journal, oldest first
select at, sweep, job, attempt, kind from events order by seq
