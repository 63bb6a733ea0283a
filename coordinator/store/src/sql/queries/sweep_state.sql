-- reads: where a sweep stands
select state from sweeps where id = $1
