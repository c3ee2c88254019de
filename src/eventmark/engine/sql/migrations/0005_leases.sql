-- Version 5: a claim tells how long its lease is, so that an end set by a clock that went back since is known as such.

-- engine tables
alter table {schema}.tracking_tokens add column lease interval;
