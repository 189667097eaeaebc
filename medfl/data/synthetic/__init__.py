"""Synthetic hospitals for demonstrations and tests; their images belong to no patient."""
