-- name: list_segments
-- purpose: how far each segment of each processor has come, and whether somebody works on it
-- parameters:
-- index: none
-- A row for each segment there is: the whole table is what is asked for.
select processor, segment, token, not {unclaimed} as claimed
from {schema}.tracking_tokens
order by processor, segment
