"""What tracing costs a job: off, on with nothing recorded, on with everything."""
