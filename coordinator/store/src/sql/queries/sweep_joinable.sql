-- reads: a live or succeeded sweep that asks for the same
select id from sweeps where manifest_digest = $1 and state in ('running', 'succeeded') order by id desc limit 1
