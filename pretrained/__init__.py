"""What others trained, for data engine and model alike: BRISQUE, which both read, an image classifier and sentence
vectors."""
