-- guard: the attempts live
update attempts set ended_at = $2, outcome = $3, error_code = $4
where outcome is null and job in (select cast(value as bigint) from json_each($1))
