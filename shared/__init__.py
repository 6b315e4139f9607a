"""What two processes must agree on, or they corrupt data or talk past each other."""
