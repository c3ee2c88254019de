create unique index ix_stream_events on {schema}.stream_events (stream_id, stream_version);
