-- reads: which of some blobs are about to be deleted
select c.digest
from (select value ->> 'digest' as digest from json_each($1)) t
cross join condemned c
where c.digest = t.digest
