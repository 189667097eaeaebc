"""Scoring by task: segmentation and classification."""
