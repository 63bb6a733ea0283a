create or replace function jobs_moved() returns trigger language plpgsql as $$
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

drop trigger jobs_must_not_move on jobs;
drop function jobs_must_not_move();

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

alter table job_artifacts add foreign key (job, attempt) references attempts (job, attempt);
alter table attempts add foreign key (worker) references workers (id);
alter table attempts add foreign key (job) references jobs (id);
alter table jobs add foreign key (worker) references workers (id);

create index events_by_job on events (job, seq);
