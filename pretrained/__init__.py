"""What others trained and both data engine and model read: an image classifier, sentence vectors, BRISQUE."""
