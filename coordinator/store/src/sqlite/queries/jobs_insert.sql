-- guard: keys that were not found in this transaction; the key is unique
insert into jobs (key, kind, label, spec, fan, fan_limits, tokens, priority, state, tries_left, pending_deps,
    created_at, changed_at, term)
select j.value ->> 'key', j.value ->> 'kind', j.value ->> 'label', j.value ->> 'spec', j.value ->> 'fan',
    j.value ->> 'fan_limits', j.value ->> 'tokens', ?2, iif(j.value ->> 'pending_deps' = 0, 'ready', 'blocked'), ?3,
    j.value ->> 'pending_deps', ?4, ?4, ?5
from json_each(?1) j
order by j.key
