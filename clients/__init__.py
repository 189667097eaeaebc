"""What a hospital does in a round: evaluate the received model, train it on its own images, answer with numbers.

`local` holds the two entry points, `train` and `evaluate`; `segmentation` and `classification` are the halves that differ
by task; everything else is a part they share. Import the modules by name: this package itself loads neither torch nor monai.
"""
