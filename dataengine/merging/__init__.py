"""From pieces to regions: pieces of one subject become one region, and CLIP can say how well its caption fits.

Rows enter with described pieces and the phrases made of their descriptions, and leave with regions.
"""
