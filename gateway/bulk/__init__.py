"""Actions on many jobs at once: made, confirmed, executed in steps, told of."""
