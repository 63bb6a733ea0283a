-- guard: a priority only grows
update jobs set priority = ?2, changed_at = ?3, term = ?4
where id in (select value from json_each(?1)) and priority < ?2
