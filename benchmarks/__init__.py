"""First figures of Leveret beside Celery's, on the same servers in one run: `python -m benchmarks`.

The processes measured are the production ones, started as in production; nothing of them is imported here.
"""
