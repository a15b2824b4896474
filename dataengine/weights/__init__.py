"""Published weights: what each annotator needs (needs.py), and the files found, named and checked (model_weights.py).

A hub id or a path enters; a folder or a file whose weights are whole leaves, or a sentence that says what is missing.
"""
