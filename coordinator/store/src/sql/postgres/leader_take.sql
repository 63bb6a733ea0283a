-- guard: nobody leads, by the database's clock; who has the leader's address has outlived him
update leader set term = term + 1, holder = $1, address = $2,
    expires_at = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + $3
where address = $2 or expires_at <= cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
returning term
