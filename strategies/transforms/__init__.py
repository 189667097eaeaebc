"""Steps between the wire and any strategy."""
