"""The data room: from a hospital's own files to prepared volumes. Identity stays behind at its door."""
