"""`instructrestore evaluate`: methods over a test set, and the paper's Tables 2, 3 and 4 of them."""
