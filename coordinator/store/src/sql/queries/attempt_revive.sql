-- guard: the attempt expired
update attempts set outcome = null, ended_at = null
where job = $1 and attempt = $2 and outcome = 'expired'
