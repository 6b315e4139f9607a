-- What people need who look through a browser: keys that end and tell when they were used, sessions that stand for a
-- key, and queues that are held.

alter table api_keys add column expires_at timestamptz;     -- null: never
alter table api_keys add column last_used_at timestamptz;   -- exact to a minute
alter table api_keys add column created_by text;            -- tenant/name of the key that made it; null: on the command line

create table sessions (
    digest     bytea primary key,                           -- sha256 of the cookie; the cookie itself is never kept
    key_id     uuid not null references api_keys (id),      -- a session lasts no longer than its key
    expires_at timestamptz not null
);
create index sessions_ended on sessions (expires_at);

-- A row is kept when a queue goes on: it says who did so, and when.
create table queue_pauses (
    queue      text primary key,
    paused     boolean not null,                            -- nothing of it is started; what runs goes on
    changed_by text not null,
    changed_at timestamptz not null default clock_timestamp()
);
