-- reads: jobs without an artifact that a job needs
select distinct n.id, n.label, n.state from job_inputs i join jobs n on n.id = i.needs
where i.job = $1 and n.state <> 'succeeded' order by n.id limit 5
