-- What a cluster needs: owners and quotas, drains, retries that remember, deletions in two steps, tokens.

alter table sweeps add column owner text not null default '';

-- `coverage` marks the first tool of each category: these go first, so that an evaluation can start early.
-- `halvings` counts how often memory ran out; `avoid` names the machine where the job last failed by itself.
alter table jobs add column owner text not null default '';
alter table jobs add column coverage integer not null default 0;
alter table jobs add column halvings integer not null default 0;
alter table jobs add column avoid text;

-- `optional` marks an input without which its job can be computed; of those it goes on without `may_miss`, once they are waived.
alter table jobs add column may_miss integer not null default 0;
alter table job_inputs add column optional integer not null default 0;

-- What a sweep did without, for whatever reason.
drop index jobs_failed;
create index jobs_failed on jobs (id) where state in ('failed', 'skipped');

drop index jobs_ready;
drop index jobs_ready_by_fan;
create index jobs_ready on jobs (priority desc, coverage desc, tokens desc, id) where state = 'ready';
create index jobs_ready_by_fan on jobs (fan, priority desc, coverage desc, tokens desc, id) where state = 'ready';

-- When an attempt last went on; an attempt that stalls is taken back.
alter table attempts add column progress_at integer;
alter table attempts add column trace text;

-- `drain_grace_ms` is set while an operator wants the worker drained, `leaving` while the worker itself is on its way out.
-- `blamed` counts jobs that failed on the worker and then succeeded elsewhere.
alter table workers add column lane_count integer not null default 0;
alter table workers add column drain_grace_ms integer;
alter table workers add column leaving integer not null default 0;
alter table workers add column blamed integer not null default 0;

create table quotas (
    owner text primary key,
    max_lanes integer not null check (max_lanes >= 0)
) strict, without rowid;

-- Blobs that are about to be deleted: no commit may name them.
create table condemned (
    digest text primary key,
    term integer not null,
    at integer not null
) strict, without rowid;

-- Bearer tokens; only their SHA-256 is kept.
create table tokens (
    id integer primary key autoincrement,
    name text not null unique,
    role text not null check (role in ('operator', 'viewer', 'worker')),
    hash text not null unique,
    created_at integer not null,
    revoked_at integer
) strict;

alter table events add column detail text;
