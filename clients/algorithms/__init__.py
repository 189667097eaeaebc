"""Client algorithms: what each algorithm adds to plain training at the client."""
