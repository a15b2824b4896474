"""The masks of a photo's regions: the source's own or a segmenter's (embedded, Semantic-SAM, SAM 2.1), cleaned.

Rows enter with a photo and, at most, a source's annotations, and leave with pieces: masks without words, or with the
source's. `segment.py` is the stage.
"""
