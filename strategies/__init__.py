"""What the server does with the replies: one strategy a file, each usable in any Flower app."""
