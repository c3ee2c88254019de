create unique index event_stream_aggregate on {schema}.event_stream
    ((metadata ->> '_aggregate_type'), (metadata ->> '_aggregate_id'), ((metadata ->> '_aggregate_version')::int));
