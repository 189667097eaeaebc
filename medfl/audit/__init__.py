"""Hash-chained logs of what was sent and received, and their verification."""
