-- guard: the needed job succeeded in this transaction, which happens once
update jobs
set pending_deps = pending_deps - 1, state = iif(state = 'blocked' and pending_deps = 1, 'ready', state),
    changed_at = ?2, term = ?3
where id in (select job from job_inputs where needs = ?1)
