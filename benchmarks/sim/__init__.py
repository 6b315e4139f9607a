"""The scaler on a simulated clock and cloud: the production `decide` beside what others do. No server."""
