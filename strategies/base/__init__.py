"""Bases that several strategies share: replies on disk, optimizers at the server, means of what sites keep."""
