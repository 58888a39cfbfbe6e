"""The documentation quotes what the repository holds and what its own commands printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_the_speed_table_is_the_measured_one() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    quoted = readme.partition("<!-- performance -->")[2].partition("<!-- /performance -->")[0]
    measured = (ROOT / "tests" / "performance" / "results.md").read_text("utf-8")
    assert quoted.strip() == measured.strip()


QUOTED = re.compile(r"<!-- (tests/\S+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_examples_are_files_that_are_tested(page: Path) -> None:
    """To bring a page up to date: `python -m tests.quote`."""
    text = page.read_text("utf-8")
    found = QUOTED.findall(text)
    assert len(found) == text.count("<!-- tests/"), "each has an end"
    for file, shown in found:
        assert shown == f"```python\n{(ROOT / file).read_text('utf-8')}```\n", file


def test_the_pages_have_examples() -> None:
    found = [
        f for page in (ROOT / "docs").glob("*.md") for f, _ in QUOTED.findall(page.read_text())
    ]
    assert "tests/plugin/remote_runtime.py" in found
