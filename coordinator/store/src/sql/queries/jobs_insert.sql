-- guard: keys that were not found in this transaction; the key is unique
insert into jobs (key, kind, label, spec, fan, fan_limits, tokens, coverage, may_miss, priority, owner, state, tries_left,
    pending_deps, created_at, changed_at, term)
select value ->> 'key', value ->> 'kind', value ->> 'label', value ->> 'spec', value ->> 'fan', value ->> 'fan_limits',
    cast(value ->> 'tokens' as bigint), cast(value ->> 'coverage' as bigint), cast(value ->> 'may_miss' as bigint), $2, $6,
    case when cast(value ->> 'pending_deps' as bigint) = 0 then 'ready' else 'blocked' end, $3,
    cast(value ->> 'pending_deps' as bigint), $4, $4, $5
from json_each($1)
order by key
