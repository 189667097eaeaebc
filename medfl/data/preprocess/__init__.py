"""The deterministic part between a hospital's file and the network: orientation, crop, intensity, spacing, size."""

from medfl.data.preprocess.steps import contiguous, finish, orient, preprocess, take

__all__ = ["contiguous", "finish", "orient", "preprocess", "take"]
