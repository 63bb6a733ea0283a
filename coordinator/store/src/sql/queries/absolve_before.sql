-- guard: marked before a time
delete from condemned where at < $1
