-- reads: which planned jobs exist
select j.id, j.key, j.state
from (select value ->> 'key' as key from json_each($1)) t
cross join jobs j
where j.key = t.key
