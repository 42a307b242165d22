"""`freehold batch run`: from rows of a file or a folder to results, by way of message batches."""
