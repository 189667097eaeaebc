"""The ways in which a hospital's folder can be laid out; each layout lists the same few facts."""
