"""Each fault on its own, against real servers: what was accepted, lost, duplicated, how long it took."""
