"""Hash-chained logs, and their verification."""
