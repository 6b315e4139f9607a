-- Which job is the retry of which: what was retried is not retried with its group again. Few jobs are retries, so
-- a submit that is none writes nothing here.
create index specs_retries on specs (retry_of) where retry_of is not null;
alter table bulk_actions add column left_out integer not null default 0;   -- fit the filter and have a retry
