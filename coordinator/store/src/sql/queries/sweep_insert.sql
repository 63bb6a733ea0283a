-- guard: no joinable sweep was found in this transaction
insert into sweeps (name, manifest_digest, owner, priority, state, created_at, changed_at, term, trace)
values ($1, $2, $6, $3, 'running', $4, $4, $5, $7)
returning id
