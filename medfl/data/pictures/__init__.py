"""Pictures: what a viewer shows of a 2-D file, and the one way in which all of them lie."""
