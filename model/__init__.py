"""Triplet batch -> loss; instruction and photo -> restored photo. Holds nothing yet: the data engine comes first."""
