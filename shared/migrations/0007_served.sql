-- The scaler learns at every look how long the jobs take that ended since the last one. Rows come in this column's
-- order, so keeping the index costs next to nothing.
create index attempts_lately on attempts (finished_at);
