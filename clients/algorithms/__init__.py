"""What a site does for each algorithm besides plain training."""
