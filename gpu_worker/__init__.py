"""The worker: takes jobs from one queue, runs them in engine processes, commits and announces the results."""
