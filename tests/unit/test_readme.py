"""The README quotes what the repository's own commands printed."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_speed_table_is_the_measured_one() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    quoted = readme.partition("<!-- performance -->")[2].partition("<!-- /performance -->")[0]
    measured = (ROOT / "tests" / "performance" / "results.md").read_text("utf-8")
    assert quoted.strip() == measured.strip()
