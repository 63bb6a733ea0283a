-- guard: job, attempt and worker, offered
update jobs set state = 'running', changed_at = ?3, term = ?4
from (select value ->> 0 as job, value ->> 1 as attempt from json_each(?1)) t
where jobs.id = t.job and jobs.attempt = t.attempt and jobs.worker = ?2 and jobs.state = 'leased'
