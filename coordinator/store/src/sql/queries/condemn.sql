-- guard: marked once, with the newest time
insert into condemned (digest, term, at) select value ->> 'digest', $2, $3 from json_each($1) where true
on conflict (digest) do update set term = excluded.term, at = excluded.at
