-- An action whose step met an error that nobody foresaw ends by it, and no gateway does.
alter table bulk_actions add column error text;                         -- why it is `failed`
alter table bulk_actions drop constraint bulk_actions_state_check;
alter table bulk_actions add constraint bulk_actions_state_check
    check (state in ('draft', 'running', 'done', 'aborted', 'failed'));

-- A job whose priority was set by hand ages anew, and not from its first moment on: it would be raised at once.
alter table jobs add column prioritised_at timestamptz;
