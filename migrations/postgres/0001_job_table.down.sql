-- Triggers and indexes go with their tables, functions by name.
drop table events;
drop table counters;
drop table job_artifacts;
drop table checkpoints;
drop table attempts;
drop table sweep_jobs;
drop table job_inputs;
drop table jobs;
drop table workers;
drop table stages;
drop table sweeps;
drop function json_each(text);
drop function jobs_may_move();
drop function jobs_created();
drop function jobs_moved();
drop function sweep_jobs_joined();
drop function sweeps_moved();
