"""The English that the grammar and the validation know: word classes, verbs, noun phrases, clauses, caption length.

Words in lower case enter; positions, word lists and yes or no leave. Nothing here knows of photos or models.
"""
