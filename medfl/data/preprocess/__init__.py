"""Deterministic preprocessing of images for the network: orientation, crop, intensity, spacing, size."""
