-- reads: sessions that were not replaced, with how many jobs they hold
select w.id, w.name, w.host, w.state, w.lanes, w.seen_at, w.drain_grace_ms, w.leaving, w.blamed,
    (select count(*) from jobs j where j.state in ('leased', 'running') and j.worker = w.id) as held
from workers w where w.state <> 'superseded' order by w.name
