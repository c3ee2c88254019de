-- name: create_processor
-- purpose: the segments of a processor that is new, all at one token
-- parameters: processor text, segments integer, token text
-- index: tracking_tokens_key
-- Of several that create it at a time, who stores segment 0 decides how many there are: the others wait for it.
with first as (
    insert into {schema}.tracking_tokens (processor, segment, segments, token)
    select :processor, 0, :segments, :token
    where not exists (select from {schema}.tracking_tokens where processor = :processor)
    on conflict on constraint tracking_tokens_key do nothing
    returning segments
)
insert into {schema}.tracking_tokens (processor, segment, segments, token)
select :processor, segment, segments, :token
from first cross join pg_catalog.generate_series(1, segments - 1) as segment
