"""Index of the files of a data folder: a file that has not changed is not opened again."""
