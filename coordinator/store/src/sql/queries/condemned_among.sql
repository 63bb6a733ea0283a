-- reads: which of some blobs are about to be deleted
select digest from condemned where digest in (select value ->> 'digest' from json_each($1))
