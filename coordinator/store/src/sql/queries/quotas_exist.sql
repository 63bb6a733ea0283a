-- reads: whether any owner has a quota
select count(*) as n from (select 1 from quotas limit 1) q
