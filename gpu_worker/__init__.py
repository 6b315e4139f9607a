"""The worker: takes jobs from the broker and runs them in an engine process."""
