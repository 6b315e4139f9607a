-- Who is at work, and what the scaler decided about it.

create table workers (
    id           text primary key,
    queue        text not null,
    state        text not null check (state in ('starting', 'ready', 'draining', 'gone')),
    host         text not null,
    device       text not null,
    slots        smallint not null,
    busy         smallint not null default 0,
    drain        boolean not null default false,    -- asked to drain: the worker reads it with its heartbeat
    started_at   timestamptz not null default clock_timestamp(),
    since        timestamptz not null default clock_timestamp(),   -- when it entered this state
    idle_since   timestamptz,                       -- null while busy
    heartbeat_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

create table decisions (
    id       bigint generated always as identity primary key,
    fleet    text not null,
    at       timestamptz not null default clock_timestamp(),
    want     integer,                               -- null: the snapshot was unknown, so nothing was decided
    have     integer not null,
    reason   text not null,
    snapshot jsonb not null,
    actions  jsonb not null
);
create index decisions_latest on decisions (fleet, id desc);
