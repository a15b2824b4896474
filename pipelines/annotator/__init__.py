"""`instructrestore train-annotator`: panoptic photos in, the annotator's weights and figures out."""
