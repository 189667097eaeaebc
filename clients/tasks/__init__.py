"""What differs by task: segmentation and classification."""
