"""How a study is conducted over a Flower grid: joining, training, checkpoints, contribution, fingerprints."""
