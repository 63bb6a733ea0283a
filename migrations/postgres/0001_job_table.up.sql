-- The job table (design: orchestration §5). Times are microseconds since 1970, digests 64 hex digits, lists JSON.
-- Counters and journal are kept by triggers, so that no change of a state can forget them. The same table as for SQLite; what differs is
-- how a trigger is written, and that one trigger serves a whole statement.

create table sweeps (
    id bigint generated always as identity primary key,
    name text not null,
    manifest_digest text not null,
    priority bigint not null,
    state text not null check (state in ('running', 'succeeded', 'failed', 'cancelled')),
    created_at bigint not null,
    changed_at bigint not null,
    finished_at bigint,
    term bigint not null,
    check ((state = 'running') = (finished_at is null))
);

create index sweeps_by_digest on sweeps (manifest_digest);
create index sweeps_by_name on sweeps (name, id);

create table stages (
    sweep bigint not null references sweeps (id),
    ordinal bigint not null,
    name text not null,
    primary key (sweep, ordinal)
);

create table workers (
    id bigint generated always as identity primary key,
    name text not null,
    incarnation text not null,
    host text not null,
    version text not null,
    lanes text not null,
    state text not null check (state in ('live', 'lost', 'superseded')),
    lease_expires_at bigint not null,
    seen_at bigint not null,
    term bigint not null,
    unique (name, incarnation)
);

-- A job is unique by key and shared by every sweep that asks for it.
create table jobs (
    id bigint generated always as identity primary key,
    key text not null unique,
    kind text not null,
    label text not null,
    spec text not null,
    fan text,
    fan_limits text,
    tokens bigint not null,
    priority bigint not null,
    state text not null check (state in
        ('blocked', 'ready', 'leased', 'running', 'backoff', 'succeeded', 'failed', 'cancelled', 'skipped')),
    attempt bigint not null default 0,
    tries_left bigint not null,
    pending_deps bigint not null,
    group_limit bigint,
    not_before bigint,
    worker bigint references workers (id),
    lane bigint,
    device_ms bigint not null default 0,
    error_code text,
    error text,
    created_at bigint not null,
    changed_at bigint not null,
    finished_at bigint,
    term bigint not null,
    check ((state in ('succeeded', 'failed', 'cancelled', 'skipped')) = (finished_at is not null)),
    check ((state in ('leased', 'running')) = (worker is not null)),
    check (pending_deps >= 0)
);

create index jobs_ready on jobs (priority desc, tokens desc, id) where state = 'ready';
create index jobs_ready_by_fan on jobs (fan, priority desc, tokens desc, id) where state = 'ready';
create index jobs_waiting on jobs (not_before) where state = 'backoff';
create index jobs_held on jobs (worker, lane) where state in ('leased', 'running');
create index jobs_failed on jobs (id) where state = 'failed';

-- What a job reads: an artifact that was there before, or the one that another job commits.
create table job_inputs (
    job bigint not null references jobs (id),
    name text not null,
    needs bigint references jobs (id),
    path text,
    digest text,
    primary key (job, name),
    check ((needs is null) = (digest is not null) and (path is null) = (digest is null))
);

create index job_inputs_by_need on job_inputs (needs) where needs is not null;

-- `result` marks jobs that are results in themselves and listed with their sweep.
create table sweep_jobs (
    sweep bigint not null references sweeps (id),
    job bigint not null references jobs (id),
    stage text not null,
    ordinal bigint not null,
    result bigint not null,
    primary key (sweep, job)
);

create index sweep_jobs_by_job on sweep_jobs (job);
create index sweep_jobs_by_ordinal on sweep_jobs (sweep, ordinal);
create index sweep_jobs_results on sweep_jobs (sweep, ordinal) where result = 1;

create table attempts (
    job bigint not null references jobs (id),
    attempt bigint not null,
    worker bigint not null references workers (id),
    lane bigint not null,
    fan text,
    term bigint not null,
    started_at bigint not null,
    ended_at bigint,
    outcome text check (outcome in
        ('committed', 'failed', 'expired', 'released', 'collateral', 'cancelled', 'fenced')),
    error_code text,
    device_ms bigint not null default 0,
    step bigint not null default 0,
    total bigint not null default 0,
    tokens bigint not null default 0,
    loss double precision,
    primary key (job, attempt),
    check ((outcome is null) = (ended_at is null))
);

create index attempts_by_lane on attempts (worker, lane, fan);

create table checkpoints (
    job bigint not null,
    step bigint not null,
    attempt bigint not null,
    path text not null,
    digest text not null,
    recorded_at bigint not null,
    primary key (job, step, attempt),
    foreign key (job, attempt) references attempts (job, attempt)
);

create table job_artifacts (
    job bigint not null,
    role text not null,
    attempt bigint not null,
    path text not null,
    digest text not null,
    bytes bigint not null,
    metrics text not null,
    created_at bigint not null,
    primary key (job, role),
    foreign key (job, attempt) references attempts (job, attempt)
);

create table counters (
    sweep bigint not null references sweeps (id),
    stage text not null,
    state text not null,
    jobs bigint not null check (jobs >= 0),
    tokens bigint not null,
    device_ms bigint not null,
    primary key (sweep, stage, state)
);

create table events (
    seq bigint generated always as identity primary key,
    at bigint not null,
    term bigint not null,
    sweep bigint,
    job bigint,
    attempt bigint,
    kind text not null
);

create index events_by_job on events (job, seq);

-- What the statements of both databases call a list: SQLite has this function built in.
create function json_each(list text) returns table (key bigint, value jsonb)
language sql immutable rows 100 as $$
    select ordinality - 1, element from jsonb_array_elements(list::jsonb) with ordinality as e (element, ordinality)
$$;

-- The moves of proto::state::JobState::may_become; a test holds the two equal.
create function jobs_may_move() returns trigger language plpgsql as $$
begin
    if old.state <> new.state and not (
        (old.state = 'blocked' and new.state in ('ready', 'cancelled', 'skipped', 'failed'))
        or (old.state = 'ready' and new.state in ('leased', 'blocked', 'cancelled', 'skipped'))
        or (old.state = 'leased' and new.state in ('running', 'ready', 'backoff', 'succeeded', 'failed', 'cancelled'))
        or (old.state = 'running' and new.state in ('ready', 'backoff', 'succeeded', 'failed', 'cancelled'))
        or (old.state = 'backoff' and new.state in ('ready', 'cancelled', 'skipped'))
        or (old.state in ('failed', 'cancelled') and new.state in ('ready', 'blocked', 'skipped'))
        or (old.state = 'skipped' and new.state in ('ready', 'blocked'))
    ) then
        raise exception 'the state machine forbids this move of a job';
    end if;
    return new;
end $$;

create trigger jobs_may_move before update of state on jobs
for each row execute function jobs_may_move();

create function jobs_created() returns trigger language plpgsql as $$
begin
    insert into events (at, term, job, attempt, kind)
    select created_at, term, id, attempt, 'job.' || state from created order by id;
    return null;
end $$;

create trigger jobs_created after insert on jobs referencing new table as created
for each statement execute function jobs_created();

create function jobs_moved() returns trigger language plpgsql as $$
begin
    insert into events (at, term, job, attempt, kind)
    select n.changed_at, n.term, n.id, n.attempt, 'job.' || n.state
    from after n join before o on o.id = n.id
    where o.state <> n.state order by n.id;

    update counters c
    set jobs = c.jobs - d.jobs, tokens = c.tokens - d.tokens, device_ms = c.device_ms - d.device_ms
    from (
        select s.sweep, s.stage, o.state, count(*) as jobs, sum(o.tokens) as tokens, sum(o.device_ms) as device_ms
        from after n join before o on o.id = n.id join sweep_jobs s on s.job = n.id
        where o.state <> n.state group by s.sweep, s.stage, o.state
    ) d
    where c.sweep = d.sweep and c.stage = d.stage and c.state = d.state;

    insert into counters (sweep, stage, state, jobs, tokens, device_ms)
    select s.sweep, s.stage, n.state, count(*), sum(n.tokens), sum(n.device_ms)
    from after n join before o on o.id = n.id join sweep_jobs s on s.job = n.id
    where o.state <> n.state group by s.sweep, s.stage, n.state
    on conflict (sweep, stage, state) do update
    set jobs = counters.jobs + excluded.jobs, tokens = counters.tokens + excluded.tokens,
        device_ms = counters.device_ms + excluded.device_ms;
    return null;
end $$;

create trigger jobs_moved after update on jobs referencing old table as before new table as after
for each statement execute function jobs_moved();

create function sweep_jobs_joined() returns trigger language plpgsql as $$
begin
    insert into counters (sweep, stage, state, jobs, tokens, device_ms)
    select m.sweep, m.stage, j.state, count(*), sum(j.tokens), sum(j.device_ms)
    from joined m join jobs j on j.id = m.job group by m.sweep, m.stage, j.state
    on conflict (sweep, stage, state) do update
    set jobs = counters.jobs + excluded.jobs, tokens = counters.tokens + excluded.tokens,
        device_ms = counters.device_ms + excluded.device_ms;
    return null;
end $$;

create trigger sweep_jobs_joined after insert on sweep_jobs referencing new table as joined
for each statement execute function sweep_jobs_joined();

create function sweeps_moved() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' or old.state <> new.state then
        insert into events (at, term, sweep, kind) values (new.changed_at, new.term, new.id, 'sweep.' || new.state);
    end if;
    return null;
end $$;

create trigger sweeps_moved after insert or update of state on sweeps
for each row execute function sweeps_moved();
