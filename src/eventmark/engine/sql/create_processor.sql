-- name: create_processor
-- purpose: the segments of a processor that is new, all at one token
-- parameters: processor text, segments integer, token text
-- index: tracking_tokens_key
insert into {schema}.tracking_tokens (processor, segment, segments, token)
select :processor, segment, :segments, :token
from pg_catalog.generate_series(0, :segments - 1) as segment
where not exists (select from {schema}.tracking_tokens where processor = :processor)
on conflict on constraint tracking_tokens_key do nothing
