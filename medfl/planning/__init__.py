"""One plan of preprocessing and network for all sites, derived from their fingerprints."""
