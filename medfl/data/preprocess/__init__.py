"""Deterministic preprocessing of images for the network: orientation, crop, intensity, spacing, size."""

from medfl.data.preprocess.steps import normalize_and_resample, orient, orient_and_crop, preprocess, to_contiguous

__all__ = ["normalize_and_resample", "orient", "orient_and_crop", "preprocess", "to_contiguous"]
