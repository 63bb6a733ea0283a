-- guard: no joinable sweep was found in this transaction
insert into sweeps (name, manifest_digest, priority, state, created_at, changed_at, term)
values (?1, ?2, ?3, 'running', ?4, ?4, ?5)
returning id
