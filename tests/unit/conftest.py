"""What unit tests share: caches and data folders of the user's own are never touched."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_user_files(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder that takes the place of the user's cache; no data folder is set."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("pajamas_eval.api.digest.user_cache_path", lambda name: cache / name)
    monkeypatch.delenv("PAJAMAS_EVAL_DATA", raising=False)
    return cache
