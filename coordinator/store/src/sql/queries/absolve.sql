-- guard: the digests
delete from condemned where digest in (select value ->> 'digest' from json_each($1))
