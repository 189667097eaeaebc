"""The store of prepared cases: made once from a hospital's own files, memory-mapped in training."""
