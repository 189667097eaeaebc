"""What a hospital does in a round: evaluate the received model, train it on its own images, answer with numbers.

`node` answers messages; `training.session` trains and scores; `algorithms` holds what each algorithm adds at the client;
`tasks` is what differs between segmentation and classification. Import the modules by name: this package loads neither torch
nor MONAI.
"""
