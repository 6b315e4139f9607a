-- What people look at and do by hand: lists of jobs, what failed, actions on many jobs, and who did what.

-- Lists go by id, which is by time. `queue` and `state` together are few combinations, so one index serves both
-- filters: a list merges the heads of those it wants. `specs` never changes, so its index costs one entry a job.
create index jobs_listed on jobs (queue, state, id desc);
create index specs_by_model on specs (model, id desc);

-- What numbers, ids, addresses and paths differ in is no other failure.
create function failure_shape(message text) returns text language sql immutable parallel safe as $$
    select btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        left(message, 500),
        '[a-z][a-z0-9+.-]*://[^[:space:]"'']+', '<url>', 'gi'),
        '(^|[[:space:]"''(=:,\[])/[^[:space:]"'',;)\]]+', '\1<path>', 'g'),
        '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\m0x[0-9a-f]+\M', '<id>', 'gi'),
        '\m(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\M', '<id>', 'gi'),
        '[-+]?[0-9]+([.,][0-9]+)*(e[-+]?[0-9]+)?', '#', 'gi'),
        '[[:space:]]+', ' ', 'g'))
$$;

-- The innermost frame as file and function: lines move with every release.
create function failure_place(traceback text) returns text language sql immutable parallel safe as $$
    select coalesce(substring(found from '([^/"]+)", line [0-9]+, in ') || ' ' ||
                    substring(found from '", line [0-9]+, in ([^[:space:]]+)'), '')
    from (select substring(right(traceback, 8000) from '.*(File "[^"]+", line [0-9]+, in [^[:space:]]+)') as found) last
$$;

create function failure_fingerprint(code text, type text, message text, traceback text) returns text
language sql immutable parallel safe as $$
    select left(encode(sha256(convert_to(concat_ws(e'\n', coalesce(code, ''), coalesce(type, ''),
        failure_shape(coalesce(message, '')), failure_place(coalesce(traceback, ''))), 'UTF8')), 'hex'), 16)
$$;

create table failures (
    job_id      uuid primary key,
    tenant      text not null,
    state       text not null,
    model       text not null,
    queue       text not null,
    worker      text,
    code        text not null,
    type        text not null,
    message     text not null,                      -- its first 500 characters
    fingerprint text not null,
    at          timestamptz not null
);
create index failures_lately on failures (at);
create index failures_alike on failures (fingerprint, job_id desc);
create index failures_by_code on failures (code, job_id desc);
create index failures_by_tenant on failures (tenant, state, job_id desc);

-- Every way to fail writes this event, whoever takes it, so none can forget the failure; a success pays for one
-- comparison. It fires when the whole statement is done, so the attempt with the traceback is there.
create function note_failure() returns trigger language plpgsql as $$
begin
    insert into failures (job_id, tenant, state, model, queue, worker, code, type, message, fingerprint, at)
    select new.job_id, s.tenant, substring(new.type from 5), s.model, j.queue, j.worker, e.code, e.type, left(e.message, 500),
           failure_fingerprint(e.code, e.type, e.message, a.traceback), new.at
    from jobs j join specs s on s.id = j.id
    cross join (select coalesce(new.data -> 'error' ->> 'code', 'internal_error') as code,
                       coalesce(new.data -> 'error' ->> 'type', '') as type,
                       coalesce(new.data -> 'error' ->> 'message', '') as message) e
    left join lateral (select error ->> 'traceback' as traceback, error ->> 'code' as code from attempts
                       where job_id = new.job_id order by fence desc limit 1) a on a.code = e.code
    where j.id = new.job_id
    on conflict do nothing;
    return null;
end
$$;
create trigger failures_noted after insert on events
    for each row when (new.type in ('job.failed', 'job.expired')) execute function note_failure();

insert into failures (job_id, tenant, state, model, queue, worker, code, type, message, fingerprint, at)
select j.id, s.tenant, j.state, s.model, j.queue, j.worker, e.code, e.type, left(e.message, 500),
       failure_fingerprint(e.code, e.type, e.message, a.traceback), ended.at
from jobs j join specs s on s.id = j.id
join events ended on ended.job_id = j.id and ended.seq = j.seq
cross join lateral (select coalesce(ended.data -> 'error' ->> 'code', 'internal_error') as code,
                           coalesce(ended.data -> 'error' ->> 'type', '') as type,
                           coalesce(ended.data -> 'error' ->> 'message', '') as message) e
left join lateral (select error ->> 'traceback' as traceback, error ->> 'code' as code from attempts
                   where job_id = j.id order by fence desc limit 1) a on a.code = e.code
where j.state in ('failed', 'expired');

-- An action on many jobs. Which ones is settled when it is made: `bulk_parts` holds their ids, a step's worth each.
create table bulk_actions (
    id          uuid primary key,
    tenant      text not null,                      -- of who made it
    action      text not null check (action in ('retry', 'cancel', 'prioritise')),
    filter      jsonb not null,
    priority    smallint check (priority between 0 and 10),
    count       integer not null,
    state       text not null default 'draft' check (state in ('draft', 'running', 'done', 'aborted')),
    step        integer not null default 0,         -- the part that comes next
    done        integer not null default 0,
    skipped     integer not null default 0,         -- had changed meanwhile
    failed      integer not null default 0,         -- was refused
    created_by  text not null,                      -- the key, as tenant/name
    created_at  timestamptz not null default clock_timestamp(),
    started_at  timestamptz,
    finished_at timestamptz,
    held_by     text,                               -- the gateway at work on it, while
    held_until  timestamptz                         -- this lies ahead
) with (fillfactor = 50);
create index bulk_newest on bulk_actions (tenant, id desc);
create index bulk_running on bulk_actions (started_at) where state = 'running';

create table bulk_parts (
    bulk_id uuid not null references bulk_actions (id),
    step    integer not null,
    ids     uuid[] not null,
    primary key (bulk_id, step)
);

-- Who did what by hand, and when. Rows are only ever added.
create table audit (
    id     bigint generated always as identity primary key,
    at     timestamptz not null default clock_timestamp(),
    actor  text not null,                           -- the key, as tenant/name
    action text not null,
    target text not null,
    count  integer,
    detail jsonb not null
);
create index audit_by_action on audit (action, id desc);
create index audit_by_actor on audit (actor, id desc);
