-- reads: whether a term still reigns, and keeps it so until this transaction ends
select term from leader where holder = $1 for share
