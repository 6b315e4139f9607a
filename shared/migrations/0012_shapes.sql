-- Ids and numbers are one and the same to a failure's shape: an id may be all digits, a number may be as long as an id.
create or replace function failure_shape(message text) returns text language sql immutable parallel safe as $$
    select btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        left(message, 500),
        '[a-z][a-z0-9+.-]*://[^[:space:]"'']+', '<url>', 'gi'),
        '(^|[[:space:]"''(=:,\[])/[^[:space:]"'',;)\]]+', '\1<path>', 'g'),
        '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\m0x[0-9a-f]+\M', '#', 'gi'),
        '\m(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}\M', '#', 'gi'),
        '[-+]*[0-9#]+(([.,]|e?[-+]*)[0-9#]+)*', '#', 'gi'),
        '[[:space:]]+', ' ', 'g'))
$$;
