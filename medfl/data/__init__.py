"""From a hospital's own files to prepared volumes. A patient's identity never leaves this room."""
