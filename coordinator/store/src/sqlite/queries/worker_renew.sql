-- guard: the session is live
update workers set lease_expires_at = ?2, seen_at = ?3, term = ?4 where id = ?1 and state = 'live'
