-- What machines cost, and who used them. Money is numeric, in the deployment's one currency; null is unknown.

-- For what a machine is paid, from its launch to when it was last seen; a new slice wherever its price changed.
-- Written by the scaler for the machines of its fleets, and with each worker's heartbeat.
create table machine_time (
    worker   text not null,                 -- the worker's id is its machine's
    slice    smallint not null,
    queue    text not null,
    offering text,                          -- what it is, where its fleet knows
    since    timestamptz not null,
    until    timestamptz not null,          -- grows while it is seen
    per_hour numeric check (per_hour >= 0),
    primary key (worker, slice)
) with (fillfactor = 50);
create index machine_time_lately on machine_time (until);

alter table workers
    add column per_hour numeric,            -- what its machine costs, as far as anybody told
    add column gpus smallint not null default 0;

-- An attempt's receipt is written with its end and never changes; null where it ended before there were any.
alter table attempts
    add column device text,
    add column machine_s double precision,  -- its share of the machine's time: 1 / slots of the time it ran
    add column gpu_s double precision,
    add column cost numeric;

-- What the attempts that have ended used, by the hours in which they ran. Jobs and attempts count where they ended,
-- a job with its first attempt.
create table usage_hours (
    hour       timestamptz not null,
    tenant     text not null,
    model      text not null,
    queue      text not null,
    outcome    text not null,
    jobs       integer not null,
    attempts   integer not null,
    machine_s  double precision not null,
    gpu_s      double precision not null,
    cost       numeric not null,            -- of what has a price
    unpriced_s double precision not null,   -- machine seconds that have none
    primary key (hour, tenant, model, queue, outcome)
);

-- Attempts that ended before this moment are in usage_hours, all others are not.
create table usage_mark (
    one   boolean primary key default true check (one),
    until timestamptz not null default clock_timestamp()
);
insert into usage_mark default values;
