"""Flower grids around another grid: streaming, retrying, packing, auditing, lost nodes."""
