"""Checks of a server, a site or a machine before a study runs on it; each result names a problem and what to do."""
