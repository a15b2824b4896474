"""Vectors of a data set's photos and regions beside it, and what is near what.

A space (captions, pictures) is what an encoder makes vectors in; a table holds a data set's vectors in one space.
"""
