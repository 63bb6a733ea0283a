-- guard: the sweep was inserted in this transaction
insert into stages (sweep, ordinal, name) select ?1, j.key, j.value from json_each(?2) j
