-- reads: live sessions among some
select id, host, drain_grace_ms, leaving, blamed from workers
where state = 'live' and id in (select cast(value as bigint) from json_each($1))
