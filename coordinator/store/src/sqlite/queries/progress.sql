-- guard: the attempt lives
update attempts set step = ?3, total = ?4, tokens = ?5, loss = ?6
where job = ?1 and attempt = ?2 and outcome is null
