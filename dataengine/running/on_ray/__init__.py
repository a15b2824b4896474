"""Stages on a Ray cluster: its workers, what becomes of a part when a worker or a node dies, their environments."""
