create unique index index_event_store_events_on_event_id on {schema}.event_store_events (event_id);

create index index_event_store_events_on_event_type on {schema}.event_store_events (event_type);

create unique index index_event_store_events_in_streams_on_stream_and_position
on {schema}.event_store_events_in_streams (stream, position);

create unique index index_event_store_events_in_streams_on_stream_and_event_id
on {schema}.event_store_events_in_streams (stream, event_id);

create index index_event_store_events_in_streams_on_event_id on {schema}.event_store_events_in_streams (event_id);
