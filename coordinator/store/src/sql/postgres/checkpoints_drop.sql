-- guard: the jobs succeeded in this transaction; nobody resumes them any more
delete from checkpoints where job = any (array(select cast(value as bigint) from json_each($1)))
