-- reads: lanes and machines that could work
select cast(coalesce(sum(lane_count), 0) as bigint) as lanes, count(distinct host) as hosts
from workers where state = 'live' and drain_grace_ms is null and leaving = 0 and blamed < $1
