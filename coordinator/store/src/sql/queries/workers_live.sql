-- reads: leases
select id, lease_expires_at from workers where state = 'live'
