"""Strategies: what the server does with the replies of a round. One strategy a file, each usable in any Flower app."""
