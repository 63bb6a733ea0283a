-- guard: the attempt may write (checked in this transaction); recorded once
insert into checkpoints (job, step, attempt, path, digest, recorded_at) values ($1, $2, $3, $4, $5, $6)
on conflict (job, step, attempt) do nothing
