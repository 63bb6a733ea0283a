-- guard: the attempt lives
update attempts set ended_at = ?3, outcome = 'committed', device_ms = ?4
where job = ?1 and attempt = ?2 and outcome is null
