"""The peer: what a team builds with Celery, FastAPI, RabbitMQ and Redis, as usual for GPU work."""
