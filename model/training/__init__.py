"""Training: a triplet -> crop -> LQ and HQ -> latents -> equation 1 -> weights."""
