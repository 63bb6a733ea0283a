-- guard: holder and term
with left_by as (
    update leader set holder = '', address = '', expires_at = 0 where holder = $1 and term = $2 returning term
)
select cast(pg_notify($3, '') as text) as notified from left_by
