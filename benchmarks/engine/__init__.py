"""How well a worker keeps its device busy, and what a job costs it: `python -m benchmarks.engine`.

Gateway, worker and servers are the production ones. What runs in the engine process is an algorithm like any
other, whose device is simulated by a lock and a sleep; the peers' workers are started by their own commands.
"""
