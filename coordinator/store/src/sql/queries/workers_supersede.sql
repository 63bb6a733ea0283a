-- guard: other processes of the name that were not replaced before
update workers set state = 'superseded', term = $3 where name = $1 and id <> $2 and state <> 'superseded' returning id
