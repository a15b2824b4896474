"""`instructrestore train`: data sets in, a checkpoint that restores out."""
