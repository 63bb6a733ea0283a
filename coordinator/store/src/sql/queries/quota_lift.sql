-- guard: the owner
delete from quotas where owner = $1
