"""Pictures of the dashboard with real work in it: `make screenshots`."""
