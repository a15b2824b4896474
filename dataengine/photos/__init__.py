"""Photos themselves: from a file's bytes to upright sRGB pixels, and back into shards.

A `SourcePhoto` enters and leaves intake as a `Row` (row.py), the one record that all later stages fill in.
Near-duplicates are found here too, and at the end `encode.py` turns rows into the members of a shard.
"""
