"""Ratios against what a plain program would take, each measured in one run. Nothing here fails."""
