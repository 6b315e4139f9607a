"""Jobs by the page: what may be asked of them, their attempts, what failed, how models do."""
