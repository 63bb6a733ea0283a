-- guard: one limit for each owner
insert into quotas (owner, max_lanes) values ($1, $2) on conflict (owner) do update set max_lanes = excluded.max_lanes
