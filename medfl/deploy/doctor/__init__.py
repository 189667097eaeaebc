"""What can be wrong with a server, a site or a machine before a study finds out; each finding names cause and way out."""
