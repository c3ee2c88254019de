insert into {schema}.mt_streams as s (tenant_id, id, version)
select tenant_id, aggregate_id, max(sequence_number) from seeded_events group by tenant_id, aggregate_id order by 1, 2
on conflict (tenant_id, id) do update set version = greatest(s.version, excluded.version)
