"""What tests of the command share."""

from pathlib import Path

import pytest
from faulty import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with data sets and a store of its own, for models of the faulty runtime."""
    return Place(tmp_path)
