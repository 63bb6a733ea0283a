-- reads: every artifact that the table refers to
select path, digest from job_artifacts
union select path, digest from checkpoints
union select path, digest from job_inputs where digest is not null
order by path, digest
