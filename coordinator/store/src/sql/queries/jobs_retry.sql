-- guard: the job ended without an artifact
update jobs
set state = case when pending_deps = 0 then 'ready' else 'blocked' end, tries_left = $2, group_limit = null, halvings = 0,
    avoid = null, not_before = null, error_code = null, error = null, finished_at = null, changed_at = $3, term = $4
from (select cast(value as bigint) as job from json_each($1)) t
where jobs.id = t.job and jobs.state in ('failed', 'cancelled', 'skipped')
returning id
