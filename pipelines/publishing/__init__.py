"""`instructrestore push` and `pull`: data sets and models to the Hugging Face hub and back."""
