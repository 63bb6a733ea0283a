-- reads: the machine of a session
select host from workers where id = $1
