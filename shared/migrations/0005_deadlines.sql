-- The relay asks every second for jobs that were not started in time; few jobs have such a deadline, and the first
-- claim clears it, so this index is small and costs the others nothing.
create index jobs_to_expire on jobs (start_deadline) where start_deadline is not null;
