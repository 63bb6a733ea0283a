-- reads: which planned jobs exist
select id, key, state from jobs where key in (select value ->> 'key' from json_each($1))
