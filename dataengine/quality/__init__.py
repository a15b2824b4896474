"""How good a photo is, and where it is sharp.

The quality gate takes rows and keeps those of photos that are large and clean enough; at the end of a build the bokeh
flag marks regions that are sharp before a blurred background. Both measure the same detail (sharpness.py).
"""
