-- reads: what a job committed
select path, digest from job_artifacts where job = ?1
