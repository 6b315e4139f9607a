-- A peer that vanished without a word (a partition, a dead machine) must not hold its session for two hours: the
-- server would be full when the others come back. For every connection to this database, poolers included.

do $$
begin
    execute format('alter database %I set tcp_keepalives_idle = 10', current_database());
    execute format('alter database %I set tcp_keepalives_interval = 5', current_database());
    execute format('alter database %I set tcp_keepalives_count = 3', current_database());
    execute format('alter database %I set tcp_user_timeout = ''25s''', current_database());
exception when insufficient_privilege then
    raise notice 'not the owner of the database: ask its owner to set the four tcp_ settings of 0006_sessions.sql';
end
$$;
