-- The job table (design: orchestration §5). Times are microseconds since 1970, digests 64 hex digits, lists JSON.
-- Counters and journal are kept by triggers, so that no change of a state can forget them.

create table sweeps (
    id integer primary key autoincrement,
    name text not null,
    manifest_digest text not null,
    priority integer not null,
    state text not null check (state in ('running', 'succeeded', 'failed', 'cancelled')),
    created_at integer not null,
    changed_at integer not null,
    finished_at integer,
    term integer not null,
    check ((state = 'running') = (finished_at is null))
) strict;

create index sweeps_by_digest on sweeps (manifest_digest);
create index sweeps_by_name on sweeps (name, id);

create table stages (
    sweep integer not null references sweeps (id),
    ordinal integer not null,
    name text not null,
    primary key (sweep, ordinal)
) strict, without rowid;

create table workers (
    id integer primary key autoincrement,
    name text not null,
    incarnation text not null,
    host text not null,
    version text not null,
    lanes text not null,
    state text not null check (state in ('live', 'lost', 'superseded')),
    lease_expires_at integer not null,
    seen_at integer not null,
    term integer not null,
    unique (name, incarnation)
) strict;

-- A job is unique by key and shared by every sweep that asks for it.
create table jobs (
    id integer primary key autoincrement,
    key text not null unique,
    kind text not null,
    label text not null,
    spec text not null,
    fan text,
    fan_limits text,
    tokens integer not null,
    priority integer not null,
    state text not null check (state in
        ('blocked', 'ready', 'leased', 'running', 'backoff', 'succeeded', 'failed', 'cancelled', 'skipped')),
    attempt integer not null default 0,
    tries_left integer not null,
    pending_deps integer not null,
    group_limit integer,
    not_before integer,
    worker integer references workers (id),
    lane integer,
    device_ms integer not null default 0,
    error_code text,
    error text,
    created_at integer not null,
    changed_at integer not null,
    finished_at integer,
    term integer not null,
    check ((state in ('succeeded', 'failed', 'cancelled', 'skipped')) = (finished_at is not null)),
    check ((state in ('leased', 'running')) = (worker is not null)),
    check (pending_deps >= 0)
) strict;

create index jobs_ready on jobs (priority desc, tokens desc, id) where state = 'ready';
create index jobs_ready_by_fan on jobs (fan, priority desc, tokens desc, id) where state = 'ready';
create index jobs_waiting on jobs (not_before) where state = 'backoff';
create index jobs_held on jobs (worker, lane) where state in ('leased', 'running');
create index jobs_failed on jobs (id) where state = 'failed';

-- What a job reads: an artifact that was there before, or the one that another job commits.
create table job_inputs (
    job integer not null references jobs (id),
    name text not null,
    needs integer references jobs (id),
    path text,
    digest text,
    primary key (job, name),
    check ((needs is null) = (digest is not null) and (path is null) = (digest is null))
) strict, without rowid;

create index job_inputs_by_need on job_inputs (needs) where needs is not null;

-- `result` marks jobs that are results in themselves and listed with their sweep.
create table sweep_jobs (
    sweep integer not null references sweeps (id),
    job integer not null references jobs (id),
    stage text not null,
    ordinal integer not null,
    result integer not null,
    primary key (sweep, job)
) strict, without rowid;

create index sweep_jobs_by_job on sweep_jobs (job);
create index sweep_jobs_by_ordinal on sweep_jobs (sweep, ordinal);
create index sweep_jobs_results on sweep_jobs (sweep, ordinal) where result = 1;

create table attempts (
    job integer not null references jobs (id),
    attempt integer not null,
    worker integer not null references workers (id),
    lane integer not null,
    fan text,
    term integer not null,
    started_at integer not null,
    ended_at integer,
    outcome text check (outcome in
        ('committed', 'failed', 'expired', 'released', 'collateral', 'cancelled', 'fenced')),
    error_code text,
    device_ms integer not null default 0,
    step integer not null default 0,
    total integer not null default 0,
    tokens integer not null default 0,
    loss real,
    primary key (job, attempt),
    check ((outcome is null) = (ended_at is null))
) strict, without rowid;

create index attempts_by_lane on attempts (worker, lane, fan);

create table checkpoints (
    job integer not null,
    step integer not null,
    attempt integer not null,
    path text not null,
    digest text not null,
    recorded_at integer not null,
    primary key (job, step, attempt),
    foreign key (job, attempt) references attempts (job, attempt)
) strict, without rowid;

create table job_artifacts (
    job integer not null,
    role text not null,
    attempt integer not null,
    path text not null,
    digest text not null,
    bytes integer not null,
    metrics text not null,
    created_at integer not null,
    primary key (job, role),
    foreign key (job, attempt) references attempts (job, attempt)
) strict, without rowid;

create table counters (
    sweep integer not null references sweeps (id),
    stage text not null,
    state text not null,
    jobs integer not null check (jobs >= 0),
    tokens integer not null,
    device_ms integer not null,
    primary key (sweep, stage, state)
) strict, without rowid;

create table events (
    seq integer primary key autoincrement,
    at integer not null,
    term integer not null,
    sweep integer,
    job integer,
    attempt integer,
    kind text not null
) strict;

create index events_by_job on events (job, seq);

-- The moves of proto::state::JobState::may_become; a test holds the two equal.
create trigger jobs_may_move before update of state on jobs
when old.state <> new.state and not (
    (old.state = 'blocked' and new.state in ('ready', 'cancelled', 'skipped', 'failed'))
    or (old.state = 'ready' and new.state in ('leased', 'blocked', 'cancelled', 'skipped'))
    or (old.state = 'leased' and new.state in ('running', 'ready', 'backoff', 'succeeded', 'failed', 'cancelled'))
    or (old.state = 'running' and new.state in ('ready', 'backoff', 'succeeded', 'failed', 'cancelled'))
    or (old.state = 'backoff' and new.state in ('ready', 'cancelled', 'skipped'))
    or (old.state in ('failed', 'cancelled') and new.state in ('ready', 'blocked', 'skipped'))
    or (old.state = 'skipped' and new.state in ('ready', 'blocked'))
)
begin
    select raise(abort, 'the state machine forbids this move of a job');
end;

create trigger jobs_created after insert on jobs
begin
    insert into events (at, term, job, attempt, kind)
    values (new.created_at, new.term, new.id, new.attempt, 'job.' || new.state);
end;

create trigger jobs_moved after update of state on jobs
when old.state <> new.state
begin
    insert into events (at, term, job, attempt, kind)
    values (new.changed_at, new.term, new.id, new.attempt, 'job.' || new.state);

    update counters
    set jobs = jobs - 1, tokens = tokens - old.tokens, device_ms = device_ms - old.device_ms
    where state = old.state and (sweep, stage) in (select sweep, stage from sweep_jobs where job = old.id);

    insert into counters (sweep, stage, state, jobs, tokens, device_ms)
    select sweep, stage, new.state, 1, new.tokens, new.device_ms from sweep_jobs where job = new.id
    on conflict (sweep, stage, state) do update
    set jobs = jobs + 1, tokens = tokens + excluded.tokens, device_ms = device_ms + excluded.device_ms;
end;

create trigger sweep_jobs_joined after insert on sweep_jobs
begin
    insert into counters (sweep, stage, state, jobs, tokens, device_ms)
    select new.sweep, new.stage, state, 1, tokens, device_ms from jobs where id = new.job
    on conflict (sweep, stage, state) do update
    set jobs = jobs + 1, tokens = tokens + excluded.tokens, device_ms = device_ms + excluded.device_ms;
end;

create trigger sweeps_created after insert on sweeps
begin
    insert into events (at, term, sweep, kind) values (new.created_at, new.term, new.id, 'sweep.' || new.state);
end;

create trigger sweeps_moved after update of state on sweeps
when old.state <> new.state
begin
    insert into events (at, term, sweep, kind) values (new.changed_at, new.term, new.id, 'sweep.' || new.state);
end;
