-- reads: live sessions among some
select w.id, w.host, w.drain_grace_ms, w.leaving, w.blamed
from (select cast(value as bigint) as worker from json_each($1)) t
cross join workers w
where w.id = t.worker and w.state = 'live'
