-- What an operator has set of a queue's fleet, over the scaler's settings; null gives back to them. A row is kept
-- when all is given back: it says who did so, and when.

create table fleets (
    queue      text primary key,
    min        integer check (min >= 0),
    max        integer check (max >= 0),
    paused     boolean not null default false,    -- nothing is started and nobody is sent away
    changed_by text not null,                     -- the key that set it last, as tenant/name
    changed_at timestamptz not null default clock_timestamp(),
    check (min <= max)
);
