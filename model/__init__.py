"""Instruction and photo -> restored photo. Imports none of the other packages but shards."""
