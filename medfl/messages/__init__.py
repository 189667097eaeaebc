"""The wire: what records, models, questions and replies look like, and how they are checked."""
