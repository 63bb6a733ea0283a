-- guard: holder and term; a reign that ran out goes on if nobody took over
update leader set expires_at = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + $3
where holder = $1 and term = $2
