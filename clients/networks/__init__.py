"""Networks of a study, and what of their tensors is exchanged."""
