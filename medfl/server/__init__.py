"""Conduct of a study over a Flower grid: joining, training, checkpoints, contribution, fingerprints."""
