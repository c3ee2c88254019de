insert into {schema}.emt_streams as s (stream_id, stream_position, partition, stream_type, stream_metadata)
select aggregate_id, max(sequence_number), tenant_id, 'order', '{}' from seeded_events group by tenant_id, aggregate_id order by 1, 3
on conflict (stream_id, partition, is_archived) do update
set stream_position = greatest(s.stream_position, excluded.stream_position)
