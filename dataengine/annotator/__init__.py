"""The network behind the annotator "named": a photo comes in, segments with names and confidences go out.

Its backbone is frozen; `training.py` trains the heads on any panoptic data, `annotator.py` is what the stages call.
"""
