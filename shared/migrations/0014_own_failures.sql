-- A tenant's failures of one kind are found among any number of others'.
create index failures_alike_of on failures (tenant, fingerprint, job_id desc);
