-- reads: the session of one process of a worker
select id, state from workers where name = $1 and incarnation = $2
