"""What unit tests share: caches and data folders of the user's own are never touched."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import PLUGIN, Nursery


@pytest.fixture(autouse=True)
def no_user_files(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder that takes the place of the user's cache; no data folder is set."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("pajamas_eval.api.digest.user_cache_path", lambda name: cache / name)
    monkeypatch.delenv("PAJAMAS_EVAL_DATA", raising=False)
    return cache


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Nursery]:
    """Starts workers; the faulty runtime is found, and digests are remembered in a folder."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    nursery = Nursery(tmp_path)
    yield nursery
    for worker in nursery.workers:
        worker.close()
