"""From a description to a noun phrase and its subject, by the embedded grammar or a language model, in three rounds.

Distinct descriptions enter, with how many regions have each; a `PhraseResult` for each leaves, with every answer on the
way. All answers are judged by the same rules (validation.py) and kept (answers.py).
"""
