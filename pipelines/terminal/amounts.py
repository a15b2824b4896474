"""Times, sizes and counts for people."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """As "45 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours < 48 else f"{hours / 24:,.1f} days"


def size_text(size: float) -> str:
    """In decimal units, as disks and networks are sold: "1.5 GB"."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def counts_text(**counts: int) -> str:
    """As "1 new photo, 1,234 regions" of new_photo=1, region=1234: nouns that take an s."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}{'' if count == 1 else 's'}" for name, count in counts.items())
