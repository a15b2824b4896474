"""HQ photos to LQ photos: the two-stage degradation of Real-ESRGAN and the release, each photo by its own choices."""
