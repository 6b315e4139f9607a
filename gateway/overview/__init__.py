"""Is it healthy, and if not, why: the dashboard's first page, from rows read once for all who look."""
