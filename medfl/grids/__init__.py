"""Grids around another Grid: streaming, retrying, packing, auditing."""
