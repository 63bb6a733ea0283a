-- reads: who leads, and for how long
select term, address, greatest(0, expires_at - cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)) as remaining
from leader
