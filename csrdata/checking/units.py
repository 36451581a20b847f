"""Bytes and seconds in words."""


def size(count: float) -> str:
    """Return bytes in words. Example: 3_200_000_000 -> "3.2 GB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"


def duration(seconds: float) -> str:
    """Return seconds in words. Example: 5400 -> "1.5 hours"."""
    for unit, factor in (("days", 172800), ("hours", 5400), ("minutes", 100)):
        if seconds >= factor:
            return f"{seconds / {'days': 86400, 'hours': 3600, 'minutes': 60}[unit]:.1f} {unit}"
    return f"{seconds:.1f} seconds"
