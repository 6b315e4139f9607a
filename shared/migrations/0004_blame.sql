-- A worker's death is blamed on the jobs that were inside an engine at that moment, and on no other.

alter table jobs add column entered boolean not null default false;   -- this attempt is inside an engine
alter table jobs add column alone boolean not null default false;     -- its next attempt shares no engine
