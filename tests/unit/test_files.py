"""Files that are written: whole or not at all, and nothing that is not to be written over."""

import os
import threading
from pathlib import Path

import pytest

from pajamas_eval.errors import UsageError
from pajamas_eval.files import check_outputs, replacing, write_whole


def refused(path: Path, *more: Path, inputs: dict[Path, str] | None = None) -> str:
    with pytest.raises(UsageError) as raised:
        check_outputs([path, None, *more], inputs or {})
    return str(raised.value)


def test_a_path_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    check_outputs([tmp_path / "x.json", None, tmp_path / "y.json"], {})
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "x.json"
    assert refused(path) == f"cannot write {path}: the folder {path.parent} does not exist"
    with pytest.raises(UsageError, match=r"cannot write .*: No such file or directory"):
        write_whole(b"", path)
    assert refused(tmp_path) == f"cannot write {tmp_path}: it is a folder"


@pytest.mark.parametrize("length", [300, 5000])
def test_a_name_that_is_too_long_is_an_error(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("x" * length)
    assert refused(path) == f"cannot write {path}: File name too long"
    with pytest.raises(UsageError, match="File name too long"):
        write_whole(b"", path)


def test_a_long_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    check_outputs([path], {})
    write_whole(b"new", path)
    assert path.read_bytes() == b"new"


def test_a_folder_that_takes_no_file_is_found_before_the_run(tmp_path: Path) -> None:
    for name in ("there", "absent"):
        closed = tmp_path / name
        closed.mkdir()
        if name == "there":
            (closed / "x.json").touch()
        closed.chmod(0o500)
        if os.access(closed, os.W_OK):
            pytest.skip("this user may write everything")
        assert refused(closed / "x.json") == f"cannot write {closed / 'x.json'}: Permission denied"


def test_a_file_without_permission_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    path.touch()
    monkeypatch.setattr(os, "access", lambda file, mode: file != path)
    assert refused(path) == f"cannot write {path}: permission denied"


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert refused(tmp_path / "a").startswith(f"cannot write {tmp_path / 'a'}: ")


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    model, link = tmp_path / "model.gguf", tmp_path / "link.json"
    model.write_bytes(b"weights")
    link.symlink_to(model)
    for path in (model, link, tmp_path / "." / "model.gguf"):
        complaint = f"{path} is the model q4; name another file to write"
        assert refused(path, inputs={model: "the model q4"}) == complaint


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert refused(path, path) == f"{path} is to be written twice; name two files"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"old and long")

    def break_off() -> None:
        with replacing(path) as stream:
            stream.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert path.read_bytes() == b"old and long"
    write_whole(b"new", path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_bytes(b"old")
    link.symlink_to(target)
    check_outputs([link], {})
    write_whole(b"new", link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    check_outputs([pipe], {})
    reader.start()
    write_whole(b"new", pipe)
    reader.join()
    assert read == [b"new"]
    assert pipe.is_fifo()


def test_a_device_is_written_to() -> None:
    null = Path(os.devnull)
    check_outputs([null], {})
    write_whole(b"new", null)
    assert null.is_char_device()


def test_a_full_device_is_an_error() -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("this system has no device that is always full")
    with pytest.raises(UsageError, match="cannot write /dev/full: No space left on device"):
        write_whole(b"new", full)
    assert full.is_char_device()


def test_an_open_file_is_written_to(tmp_path: Path) -> None:
    """As `--json /dev/stdout` and the `>(…)` of a shell name it."""
    with (tmp_path / "x").open("wb") as stream:
        path = Path(f"/dev/fd/{stream.fileno()}")
        check_outputs([path], {})
        write_whole(b"new", path)
    assert (tmp_path / "x").read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
