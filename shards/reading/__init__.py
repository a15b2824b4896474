"""A run's canonical order over data sets, and the triplets read in it: what training streams from."""
