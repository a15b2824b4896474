"""Captions that name one thing among its like, "the left dog", and which one that is: one grammar for both directions.

A `Reference` is what a caption says: `parse_reference` reads it, `phrasings` writes it. `resolve` says which of the
given pieces it names, `describe` finds references of which each names exactly one. No network.
"""
