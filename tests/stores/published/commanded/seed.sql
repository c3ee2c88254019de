insert into {schema}.events (event_id, event_type, data, metadata, created_at)
select event_id, event_type, payload, metadata, timestamp_utc from seeded_events;

insert into {schema}.streams as s (stream_uuid, stream_version)
select aggregate_id, max(sequence_number) from seeded_events group by aggregate_id order by aggregate_id
on conflict (stream_uuid) do update set stream_version = greatest(s.stream_version, excluded.stream_version);

insert into {schema}.stream_events (event_id, stream_id, stream_version, original_stream_id, original_stream_version)
select event_id, p.stream_id, p.stream_version, s.stream_id, sequence_number
from seeded_events
join {schema}.streams s on stream_uuid = aggregate_id
cross join lateral (values (0, global_sequence_id), (s.stream_id, sequence_number)) as p (stream_id, stream_version);

update {schema}.streams
set stream_version = greatest(stream_version, (select max(global_sequence_id) from seeded_events))
where stream_id = 0;
