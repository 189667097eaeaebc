"""A study on one machine: the same Flower apps in warm worker processes, or under Flower's own simulation runtime."""
