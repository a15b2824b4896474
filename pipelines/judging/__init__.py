"""`instructrestore revise`, `diff` and `audit`: judgements in; new versions, what changed, and stated accuracy out."""
