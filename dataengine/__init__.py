"""Photos in, annotated photos out."""
