-- guard: the attempts live
update attempts set ended_at = $2, outcome = $3, error_code = $4
from (select cast(value as bigint) as job from json_each($1)) t
where attempts.job = t.job and outcome is null
