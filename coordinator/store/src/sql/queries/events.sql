-- reads: the journal behind an entry, oldest first
select seq, at, sweep, job, attempt, kind from events where seq > $1 order by seq limit $2
