"""How a process shows what it does: logs, metrics and the admin port."""
