-- How many workers each fleet wanted and had, from when until when: a row is what was found at one look after the
-- other without a change. Between two rows further apart than `gap_s` nobody looked. Rows are kept for eight days.

create table fleet_looks (
    id          bigint generated always as identity primary key,
    queue       text not null,
    at          timestamptz not null default statement_timestamp(),
    until       timestamptz not null default statement_timestamp(),
    gap_s       double precision not null,
    want        integer,                            -- null: something was unknown, or somebody paused it
    asked       integer,                            -- what the jobs ask for, before any limit; null: not known
    bound       text,                               -- max, min, jobs: which limit made `want` another number
    serving     integer,                            -- these three null: not known
    starting    integer,
    leaving     integer,
    min         integer not null,                   -- the limits as they held
    max         integer not null,
    min_ordered boolean not null,                   -- an operator's, not the settings'
    max_ordered boolean not null
) with (fillfactor = 70);                           -- `until` grows at every look
create index fleet_looks_latest on fleet_looks (queue, id desc);
