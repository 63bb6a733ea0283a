create index events_by_job on events (job, seq);
