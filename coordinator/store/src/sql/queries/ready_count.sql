-- reads: how many jobs are ready, as far as it matters
select count(*) as n from (select 1 from jobs where state = 'ready' limit $1) r
