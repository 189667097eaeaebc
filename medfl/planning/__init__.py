"""From what hospitals may tell of their images to one plan of preprocessing and network for all of them."""
