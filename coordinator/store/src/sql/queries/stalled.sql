-- reads: running attempts that have not gone on for some time
select j.id, a.attempt from jobs j join attempts a on a.job = j.id and a.attempt = j.attempt
where j.state = 'running' and a.progress_at <= $1
order by j.id
