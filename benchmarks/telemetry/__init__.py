"""What metrics and the default logs cost a submit: the same gateway with both, and with neither."""
