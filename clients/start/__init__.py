"""Start weights: other models' files, and what of them becomes the first model of a study."""
