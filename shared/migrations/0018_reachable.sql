-- Where a worker's metrics are read, as host:port. Null: an older worker, which did not tell.
alter table workers add column admin text;
