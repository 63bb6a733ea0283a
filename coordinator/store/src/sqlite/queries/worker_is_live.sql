-- reads: whether a session is live
select 1 from workers where id = ?1 and state = 'live'
