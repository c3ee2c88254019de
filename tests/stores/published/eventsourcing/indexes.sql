create unique index stored_events_notification_id_idx on {schema}.stored_events (notification_id);
