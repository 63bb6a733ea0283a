-- Triggers and indexes go with their tables.
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
