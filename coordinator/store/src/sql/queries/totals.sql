-- reads: workers and their lanes, lanes that hold jobs, the journal's end
select count(*) as workers, cast(coalesce(sum(lane_count), 0) as bigint) as lanes,
    (select count(*) from (select distinct worker, lane from jobs where state in ('leased', 'running')) held) as busy,
    (select coalesce(max(seq), 0) from events) as events
from workers where state = 'live'
