-- reads: what is about to be deleted
select digest from condemned order by digest
