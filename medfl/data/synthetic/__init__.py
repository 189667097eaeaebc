"""Hospitals made by calculation, for demonstrations and tests: their images belong to no patient."""
