"""For data engine and model alike: what others trained (BRISQUE, which both read, an image classifier and sentence
vectors), and the names of colours."""
