"""What restores the photos of a test set, and results that other programs made.

`method`, `spec` and `results_folder` import no torch, so that mistakes on the command line are reported at once.
"""
