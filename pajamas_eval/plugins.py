"""Plugins: what installed packages offer through entry points."""

from importlib.metadata import EntryPoint, entry_points


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of one group by name; nothing is imported."""
    return {point.name: point for point in entry_points(group=group)}
