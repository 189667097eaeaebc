"""The client side: a site evaluates the received model, trains it on its own images, and answers with model and numbers.

`node` answers messages; `session` trains and scores; `algorithms` holds what each algorithm adds at the client;
`tasks` is what differs between segmentation and classification. Import the modules by name: this package loads neither torch
nor MONAI.
"""
