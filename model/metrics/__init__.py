"""How good a restored photo is: fidelity and perceptual metrics over any region, and what a sweep of s1 shows."""
