"""Training at a site: the loop, and the parts it is made of."""
