-- guard: the sweep was inserted in this transaction
insert into stages (sweep, ordinal, name) select $1, key, value ->> 'name' from json_each($2)
