"""`instructrestore testset`: HQ photos with masks and captions, or LQ/HQ pairs, in; a test set out."""
