"""A real federation: who belongs to it, the server, the sites, and what is checked of each."""
