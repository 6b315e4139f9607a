-- What workers tell of themselves with their heartbeats: their devices, what they hold, and each load of a model.

alter table workers
    add column report jsonb;                -- devices and loaded models, as of the last heartbeat; null: it told nothing

-- Kept for eight days. A worker loads its models before it is ready, so attempts know of few of these.
create table model_loads (
    id        uuid primary key,             -- the worker's: a load that is told twice is one
    model     text not null,
    version   text not null,
    worker    text not null,
    at        timestamptz not null,         -- when it was loaded
    load_s    double precision,             -- null where the engine's word for it is no number
    memory_mb double precision              -- what its process grew by, 10^6 bytes; null: not known
);
create index model_loads_lately on model_loads (at desc);
