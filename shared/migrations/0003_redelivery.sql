-- What the relay needs to notice a lost message, and to bound how long a low priority waits.

alter table jobs add column published_at timestamptz;   -- of the last confirmed message
alter table jobs add column promoted boolean not null default false;
alter table workers add column claims bigint not null default 0;   -- since its start, told with each heartbeat

-- Promotions keep pace with claims: at most one per five claims of a queue, however many relays there are.
create table promotions (
    queue  text primary key,
    claims bigint not null      -- the queue's claims that are paid for by promotions made so far
);
