"""A description for every piece: the source's words or a describer's (embedded, Osprey, a vision-language model).

Rows enter with masks and leave with pieces that say what they show; pieces nobody can describe are removed and counted.
`describe.py` is the stage.
"""
