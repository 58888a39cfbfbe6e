"""A digest names a model's content, wherever it lies; it is computed once per file."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pajamas_eval.api import digest as digest_module
from pajamas_eval.api.digest import digest_of, model_files


def model(folder: Path, **changed: bytes) -> Path:
    """A model folder with a few files, some with other content."""
    folder.mkdir()
    content = {"config.json": b"{}", "model.safetensors": b"weights" * 1000} | {
        name.replace("_", "."): data for name, data in changed.items()
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def of(folder: Path) -> str:
    return digest_of(model_files(folder))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was read."""
    names: list[str] = []
    original: Callable[..., object] = digest_module.blake3

    class Counting:
        AUTO = digest_module.blake3.AUTO

        def __init__(self, **options: int) -> None:
            self._hasher = original(**options)

        def update(self, data: bytes) -> None:
            self._hasher.update(data)  # type: ignore[attr-defined]

        def update_mmap(self, path: Path) -> None:
            names.append(path.name)
            self._hasher.update_mmap(path)  # type: ignore[attr-defined]

        def hexdigest(self) -> str:
            return str(self._hasher.hexdigest())  # type: ignore[attr-defined]

    monkeypatch.setattr(digest_module, "blake3", Counting)
    return names


def test_equal_content_has_an_equal_digest_wherever_it_lies(tmp_path: Path) -> None:
    assert of(model(tmp_path / "here")) == of(model(tmp_path / "there"))


def test_one_changed_byte_makes_another_digest(tmp_path: Path) -> None:
    changed = b"weights" * 999 + b"weightz"
    assert of(model(tmp_path / "a")) != of(model(tmp_path / "b", model_safetensors=changed))


def test_content_is_bound_to_its_name(tmp_path: Path) -> None:
    one = model(tmp_path / "a", vocab_txt=b"x", merges_txt=b"y")
    other = model(tmp_path / "b", vocab_txt=b"y", merges_txt=b"x")
    assert of(one) != of(other)


def test_renaming_a_single_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"weights")
    before = digest_of([tmp_path / "a.gguf"])
    (tmp_path / "a.gguf").rename(tmp_path / "b.gguf")
    assert digest_of([tmp_path / "b.gguf"]) == before


def test_the_order_of_the_files_is_irrelevant(tmp_path: Path) -> None:
    files = model_files(model(tmp_path / "a"))
    assert digest_of(files) == digest_of(reversed(files))


def test_prose_pictures_and_hidden_files_are_no_part_of_a_model(tmp_path: Path) -> None:
    bare = of(model(tmp_path / "a"))
    full = model(tmp_path / "b", README_md=b"prose", logo_png=b"picture")
    (full / ".gitattributes").write_bytes(b"hidden")
    (full / "folder").mkdir()
    assert of(full) == bare


def test_an_empty_file_has_a_digest_too(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert len(digest_of([tmp_path / "empty"])) == 64


def test_a_file_is_read_once(tmp_path: Path, hashed: list[str]) -> None:
    folder = model(tmp_path / "a")
    first = of(folder)
    assert sorted(hashed) == ["config.json", "model.safetensors"]
    assert of(folder) == first
    assert len(hashed) == 2


def test_a_link_to_a_file_shares_its_memory(tmp_path: Path, hashed: list[str]) -> None:
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    assert digest_of([tmp_path / "blob"]) == digest_of([tmp_path / "link"])
    assert hashed == ["blob"]


def test_a_file_written_again_is_read_again(tmp_path: Path, hashed: list[str]) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"aaaa")
    before = digest_of([file])
    file.write_bytes(b"bbbb")  # the same size
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert digest_of([file]) != before
    assert len(hashed) == 2


def _rewritten(file: Path) -> None:
    file.write_bytes(b"bbbb")


def _replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"bbbb")
    other.replace(file)


def _exchanged_folder(file: Path) -> None:
    folder = file.parent.with_name("other")
    folder.mkdir()
    (folder / file.name).write_bytes(b"bbbb")
    file.parent.rename(file.parent.with_name("former"))
    folder.rename(file.parent)


@pytest.mark.parametrize("changed", [_rewritten, _replaced, _exchanged_folder])
def test_another_file_of_the_same_path_size_and_time_is_read(
    tmp_path: Path, hashed: list[str], changed: Callable[[Path], None]
) -> None:
    """Archives, images and `cp -p` give many files one time; variants may have one size."""
    file = tmp_path / "model" / "q4.gguf"
    file.parent.mkdir()
    file.write_bytes(b"aaaa")
    os.utime(file, ns=(0, 0))
    before = digest_of([file])
    time.sleep(0.02)  # longer than the clock of a file system takes to move on
    changed(file)
    os.utime(file, ns=(0, 0))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (4, 0)
    assert digest_of([file]) != before
    assert hashed == ["q4.gguf", "q4.gguf"]


def test_a_file_of_another_size_is_read_again(tmp_path: Path, hashed: list[str]) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"aaaa")
    modified = file.stat().st_mtime_ns
    before = digest_of([file])
    file.write_bytes(b"aaaab")
    os.utime(file, ns=(modified, modified))
    assert digest_of([file]) != before
    assert len(hashed) == 2


def _garbage(cache: Path) -> None:
    cache.write_bytes(b"this is no database" * 100)


def _other_columns(cache: Path) -> None:
    with sqlite3.connect(cache) as connection:
        connection.execute("CREATE TABLE file_digests (something TEXT)")


def _broken_page(cache: Path) -> None:
    data = bytearray(cache.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    cache.write_bytes(data)


@pytest.mark.parametrize("damage", [_garbage, _other_columns, _broken_page])
def test_a_damaged_memory_does_no_harm(
    tmp_path: Path, damage: Callable[[Path], None], hashed: list[str]
) -> None:
    file, cache = tmp_path / "m.gguf", tmp_path / "digests.sqlite"
    file.write_bytes(b"weights")
    before = digest_of([file], cache)
    if damage is _other_columns:
        cache.unlink()
    damage(cache)
    assert digest_of([file], cache) == before
    assert len(hashed) == 2


def test_a_memory_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"weights")
    (tmp_path / "file").write_bytes(b"")
    before = digest_of([tmp_path / "m.gguf"])
    assert digest_of([tmp_path / "m.gguf"], tmp_path / "file" / "digests.sqlite") == before


def test_a_memory_that_may_only_be_read_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"weights")
    cache = tmp_path / "digests.sqlite"
    before = digest_of([tmp_path / "a"], cache)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **options: connect(f"file:{path}?mode=ro", uri=True)
    )
    assert digest_of([tmp_path / "b"], cache) == before
