-- guard: the session is live and was not renewed meanwhile
update workers set state = 'lost', term = $3 where id = $1 and state = 'live' and lease_expires_at = $2
