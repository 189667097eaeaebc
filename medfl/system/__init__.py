"""What an operating system gives: files, locks, ports, process pools, parent processes. No word of medicine."""
