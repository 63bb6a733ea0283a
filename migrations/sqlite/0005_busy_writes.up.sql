-- No statement reads the journal by job.
drop index events_by_job;
