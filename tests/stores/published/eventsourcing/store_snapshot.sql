-- name: store_snapshot
-- purpose: keep a snapshot; the same version again replaces it
-- parameters: aggregate_id uuid, sequence_number bigint, payload bytea
-- index: none
insert into {schema}.snapshots (originator_id, originator_version, state)
values (:aggregate_id, :sequence_number, :payload)
on conflict (originator_id, originator_version) do update set state = excluded.state
