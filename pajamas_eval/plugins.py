"""Plugins: what installed packages offer through entry points, and code of theirs that fails."""

import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pajamas_eval.errors import PajamasError, UsageError, one_line

OURS = "pajamas-eval"
"""The package whose names nobody else can take."""


@dataclass(slots=True)
class Plugin:
    """A name of one group, and who offers it.

    Attributes:
        points: The entry point of each package that offers it: ours alone where we do.
        ignored: Titles of those of other packages whose name is ours.
    """

    name: str
    points: dict[str, EntryPoint] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        """Whether it comes with this program."""
        return OURS in self.points

    @property
    def title(self) -> str:
        """Its name with its package's."""
        return title(self.name, self.points)

    def load(self, kind: type[Any]) -> type[Any]:
        """Imports it. Raises `UsageError` where it is broken, or not the only one."""
        if len(self.points) > 1:
            raise UsageError(
                f"{self.name!r} is offered by {len(self.points)} packages, "
                f"{' and '.join(sorted(self.points))}; uninstall all but one of them"
            )
        (point,) = self.points.values()
        with contained(self.title):
            loaded: object = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, kind)):
            raise UsageError(f"{self.title} is broken: {point.value} is no {kind.__name__} class")
        return loaded


def title(name: str, packages: Iterable[str]) -> str:
    """A plugin's name with its package's."""
    return f"{name!r} of the package {' and '.join(sorted(packages))}"


def installed(group: str) -> dict[str, Plugin]:
    """What is offered in one group, by name, in order; nothing is imported."""
    found: dict[str, Plugin] = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist else "of no name"
        if re.sub("[-_.]+", "-", package).lower() == OURS:
            package = OURS
        found.setdefault(point.name, Plugin(point.name)).points[package] = point
    for plugin in found.values():
        if plugin.is_ours:
            others = plugin.points.keys() - {OURS}
            plugin.ignored = [title(plugin.name, [package]) for package in sorted(others)]
            plugin.points = {OURS: plugin.points[OURS]}
    return dict(sorted(found.items()))


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Turns whatever code of a plugin raises into a `UsageError` that names the plugin."""
    try:
        yield
    except PajamasError:
        raise
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise UsageError(f"{what} is broken: {one_line(error)} ({where})") from error
