"""What the files of a data folder are, remembered: a file that has not changed is not opened again."""
