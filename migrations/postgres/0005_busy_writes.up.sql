-- Claims and completions are most of what a coordinator writes; this takes off what they paid for without need.

-- No statement reads the journal by job.
drop index events_by_job;

-- The statements that write these references read the rows that they name in the same transaction, and nothing deletes those rows.
-- Checked once more for every row, they were a sixth of a completion's time.
alter table jobs drop constraint jobs_worker_fkey;
alter table attempts drop constraint attempts_job_fkey;
alter table attempts drop constraint attempts_worker_fkey;
alter table job_artifacts drop constraint job_artifacts_job_attempt_fkey;

-- The moves of proto::state::JobState::may_become; a test holds the two equal. As a condition it costs no call per row.
drop trigger jobs_may_move on jobs;
drop function jobs_may_move();

create function jobs_must_not_move() returns trigger language plpgsql as $$
begin
    raise exception 'the state machine forbids this move of a job';
end $$;

create trigger jobs_must_not_move before update of state on jobs for each row
when (old.state <> new.state and not (
    (old.state = 'blocked' and new.state in ('ready', 'cancelled', 'skipped', 'failed'))
    or (old.state = 'ready' and new.state in ('leased', 'blocked', 'cancelled', 'skipped'))
    or (old.state = 'leased' and new.state in ('running', 'ready', 'backoff', 'succeeded', 'failed', 'cancelled'))
    or (old.state = 'running' and new.state in ('ready', 'backoff', 'succeeded', 'failed', 'cancelled'))
    or (old.state = 'backoff' and new.state in ('ready', 'cancelled', 'skipped'))
    or (old.state in ('failed', 'cancelled') and new.state in ('ready', 'blocked', 'skipped'))
    or (old.state = 'skipped' and new.state in ('ready', 'blocked'))
))
execute function jobs_must_not_move();

-- One look at what moved serves journal and counters. A counter changes once in a statement, by what is left of its gains and losses.
-- Before and after are matched by grouping: joined, each row would be held against every other, for want of statistics.
create or replace function jobs_moved() returns trigger language plpgsql as $$
begin
    with moved as materialized (
        select id, max(state) filter (where now) as state, max(state) filter (where not now) as old_state,
            max(tokens) filter (where now) as tokens, max(tokens) filter (where not now) as old_tokens,
            max(device_ms) filter (where now) as device_ms, max(device_ms) filter (where not now) as old_device_ms,
            max(attempt) filter (where now) as attempt, max(changed_at) filter (where now) as changed_at,
            max(term) filter (where now) as term
        from (
            select id, state, tokens, device_ms, attempt, changed_at, term, true as now from after
            union all select id, state, tokens, device_ms, attempt, changed_at, term, false from before
        ) b
        group by id having min(state) <> max(state)
    ), journal as (
        insert into events (at, term, job, attempt, kind)
        select changed_at, term, id, attempt, 'job.' || state from moved order by id
    ), shifts as (
        select s.sweep, s.stage, e.state, sum(e.jobs) as jobs, sum(e.tokens) as tokens, sum(e.device_ms) as device_ms
        from moved m join sweep_jobs s on s.job = m.id
            cross join lateral (values
                (m.old_state, -1, -m.old_tokens, -m.old_device_ms), (m.state, 1, m.tokens, m.device_ms)
            ) as e (state, jobs, tokens, device_ms)
        group by s.sweep, s.stage, e.state
    ), known as (
        update counters c
        set jobs = c.jobs + d.jobs, tokens = c.tokens + d.tokens, device_ms = c.device_ms + d.device_ms
        from shifts d
        where c.sweep = d.sweep and c.stage = d.stage and c.state = d.state
        returning c.sweep, c.stage, c.state
    )
    insert into counters (sweep, stage, state, jobs, tokens, device_ms)
    select * from shifts d
    where not exists (select from known k where k.sweep = d.sweep and k.stage = d.stage and k.state = d.state);
    return null;
end $$;
