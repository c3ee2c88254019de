-- name: append_events
-- purpose: the stream's version first, then that of the stream of all, whose row numbers every event in turn
-- parameters: aggregate_id text, expected_version bigint, event_count bigint, event_ids uuid[], event_types text[], payloads bytea[], metadatas bytea[], timestamps timestamptz[]
-- index: none
with made as (
    insert into {schema}.streams (stream_uuid, stream_version)
    select :aggregate_id, :event_count where :expected_version::bigint = 0
    on conflict (stream_uuid) do nothing
    returning stream_id
), known as (
    update {schema}.streams set stream_version = stream_version + :event_count
    where stream_uuid = :aggregate_id and stream_version = :expected_version and :expected_version > 0
    returning stream_id
), own as (
    select stream_id from made union all select stream_id from known
), everything as (
    update {schema}.streams set stream_version = stream_version + :event_count
    where stream_id = 0 and exists (select from own)
    returning stream_version - :event_count as before
), batch as (
    select own.stream_id, everything.before, b.*
    from own cross join everything cross join unnest(
        :event_ids::uuid[], :event_types::text[], :payloads::bytea[], :metadatas::bytea[], :timestamps::timestamptz[]
    ) with ordinality as b (event_id, event_type, data, metadata, created_at, place)
), stored as (
    insert into {schema}.events (event_id, event_type, data, metadata, created_at)
    select event_id, event_type, data, metadata, created_at from batch
), placed as (
    insert into {schema}.stream_events (event_id, stream_id, stream_version, original_stream_id, original_stream_version)
    select event_id, p.stream_id, p.stream_version, batch.stream_id, :expected_version + place
    from batch
    cross join lateral (values (0, before + place), (batch.stream_id, :expected_version + place)) as p (stream_id, stream_version)
    returning stream_id, stream_version
)
select max(stream_version) as last_global_sequence from placed where stream_id = 0
