-- reads: how many lanes owners may have, and have
select q.owner, q.max_lanes, (
    select count(*) from (
        select distinct worker, lane from jobs where state in ('leased', 'running') and jobs.owner = q.owner
    ) l
) as used
from quotas q
