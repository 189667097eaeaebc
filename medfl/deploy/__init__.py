"""A real federation: its members, the server, the sites, and the checks of each."""
