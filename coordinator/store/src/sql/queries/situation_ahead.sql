-- reads: ready jobs that go before one
select count(*) as n from jobs
where state = 'ready' and (priority > $1 or (priority = $1 and (coverage > $2 or (coverage = $2
    and (tokens > $3 or (tokens = $3 and id < $4))))))
