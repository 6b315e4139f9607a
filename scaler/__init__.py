"""The scaler: observes the queues and the workers, decides, and starts, drains and stops machines."""
