"""The only rooms where a driver may be imported: they turn wire and rows into the domain's records."""
