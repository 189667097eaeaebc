"""Rules on what may leave a hospital: its policy, and the suppression of small counts."""
