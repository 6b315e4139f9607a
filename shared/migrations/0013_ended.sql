-- A job that lives changes its state at every step, and `jobs_live` knows it by state, queue and priority as it is:
-- what lists need besides is the jobs that have ended, which costs one entry a job and not one a step.
-- Ends with the predicate as `candidates` spells it; the planner compares the two.
drop index jobs_listed;
create index jobs_listed on jobs (queue, state, id desc)
    where state in ('succeeded', 'failed', 'canceled', 'expired');
