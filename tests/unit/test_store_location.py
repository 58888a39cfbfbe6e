"""Where the store lies: the user's data folder, and what former versions left in the cache."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from test_store import fill

from pajamas_eval.cli import main
from pajamas_eval.store import Store, default_path, info, move_former


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, on every system."""
    monkeypatch.delenv("PAJAMAS_EVAL_STORE", raising=False)
    for kind in ("cache", "data"):
        monkeypatch.setattr(
            f"pajamas_eval.store.location.user_{kind}_path",
            lambda name, kind=kind: tmp_path / kind / name,
        )
    return tmp_path


@pytest.fixture
def former(home: Path) -> Path:
    """A store of a former version, with 3 responses."""
    path = home / "cache" / "pajamas-eval" / "responses.sqlite"
    with Store.open(path) as store:
        fill(store, range(3))
    return path


def present(home: Path) -> Path:
    return home / "data" / "pajamas-eval" / "responses.sqlite"


def test_it_lies_where_the_user_says_or_in_the_data_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_path() == present(home)
    assert move_former() is None
    monkeypatch.setenv("PAJAMAS_EVAL_STORE", "some/where.sqlite")
    assert default_path() == Path("some/where.sqlite")
    monkeypatch.setenv("PAJAMAS_EVAL_STORE", "")
    assert default_path() == present(home)


def test_a_former_store_is_moved_once_and_said(home: Path, former: Path) -> None:
    log = former.with_name("responses.sqlite-logs") / "1.log"
    log.parent.mkdir()
    log.write_text("said")
    first, second = (CliRunner().invoke(main, ["store", "info"]) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.stderr == f"the response store was moved from {former} to {present(home)}\n"
    assert second.stderr == ""
    assert list(former.parent.iterdir()) == []
    assert (present(home).parent / "responses.sqlite-logs" / "1.log").read_text() == "said"
    with Store.open(default_path()) as store:
        assert info(store).responses == 3


def test_a_place_that_is_named_is_left_alone(
    home: Path, former: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = CliRunner().invoke(main, ["store", "info", "--store", str(former)])
    assert (result.exit_code, result.stderr) == (0, "")
    monkeypatch.setenv("PAJAMAS_EVAL_STORE", str(former))
    assert move_former() is None
    assert former.exists()


def test_a_former_store_in_use_is_used_where_it_is(home: Path, former: Path) -> None:
    with Store.open(former):
        assert move_former() is None
        assert default_path() == former
    assert move_former() is not None
    assert default_path() == present(home)


def test_two_stores_are_never_made_one(home: Path, former: Path) -> None:
    with Store.open(present(home)):
        pass
    assert move_former() is None
    assert default_path() == present(home)
    assert former.exists()
