-- Jobs, their attempts and their event log. What never changes (specs) lies apart from what changes at every
-- step (jobs), so that a hot row is narrow and its updates stay on its page.

create table tenants (
    name        text primary key check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    s3_prefixes text[] not null default '{}',   -- s3://bucket/prefix/ this tenant may read from and write to
    created_at  timestamptz not null default clock_timestamp()
);

create table api_keys (
    id         uuid primary key,
    tenant     text not null references tenants (name),
    name       text not null,
    role       text not null check (role in ('user', 'operator')),
    digest     bytea not null unique,           -- sha256 of the key; the key itself is shown once and never kept
    prefix     text not null,                   -- its first characters, to tell keys apart in a list
    created_at timestamptz not null default clock_timestamp(),
    revoked_at timestamptz
);

create table specs (
    id              uuid primary key,
    tenant          text not null,
    model           text not null,
    model_version   text not null,
    inputs          jsonb not null,
    params          jsonb not null,
    metadata        jsonb not null,
    destinations    jsonb not null,
    timeout_s       double precision not null,
    idempotency_key text,
    body_digest     bytea not null,
    retry_of        uuid,
    traceparent     text,
    created_at      timestamptz not null default clock_timestamp()
);
create unique index specs_idempotency on specs (tenant, idempotency_key) where idempotency_key is not null;
create index specs_newest on specs (tenant, id desc);

create table jobs (
    id               uuid primary key,
    queue            text not null,
    state            text not null check (state in
                     ('waiting', 'queued', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    priority         smallint not null check (priority between 0 and 10),
    seq              integer not null,              -- raised only by the UPDATE that also writes an event
    attempt          smallint not null default 0,
    max_attempts     smallint not null,
    fence            integer not null default 0,    -- raised by whatever changes the job's owner
    releases         smallint not null default 0,
    misses           smallint not null default 0,   -- workers met that did not know the model
    cancel_requested boolean not null default false,
    progress         real not null default 0,
    worker           text,
    run_at           timestamptz,                   -- not before
    start_deadline   timestamptz,                   -- expires if not started by then; cleared by the first claim
    queued_at        timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    lease_until      timestamptz,                   -- deliberately in no index: renewals must stay HOT
    publish_due      timestamptz,                   -- "publish me", the one column the relay works from
    publish_tries    smallint not null default 0
) with (fillfactor = 50);
create index jobs_to_publish on jobs (publish_due) where publish_due is not null;
create index jobs_live on jobs (state, queue, priority desc, id) where state in ('waiting', 'queued', 'running');

create table events (
    job_id uuid not null,
    seq    integer not null,
    type   text not null,
    at     timestamptz not null,
    data   jsonb not null,                          -- of a terminal event: the outputs or the error
    primary key (job_id, seq)
);

create table attempts (
    job_id      uuid not null,
    fence       integer not null,
    attempt     smallint not null,
    worker      text not null,
    outcome     text not null,
    started_at  timestamptz not null,
    finished_at timestamptz not null,
    error       jsonb,
    log         text not null,
    timings     jsonb not null,
    primary key (job_id, fence)
);

-- One generic plan for every statement, and no JIT: a one-row claim costs 1.1 ms instead of 2.4. Set on the
-- database and not per connection, so that a transaction pooler in between changes nothing.
do $$
begin
    execute format('alter database %I set plan_cache_mode = force_generic_plan', current_database());
    execute format('alter database %I set jit = off', current_database());
exception when insufficient_privilege then
    raise notice 'not the owner of the database: ask its owner to set plan_cache_mode and jit';
end
$$;
