"""How a study is conducted over a Grid: joining, training, checkpoints, contribution, fingerprints."""
