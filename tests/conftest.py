"""What all tests share: where the models and the real data lie."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine is no fault of the code, and a test that passes once passes again.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

# Before any engine is imported: no look-ups on the network, no idle threads that spin.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# The user's own response store is never touched.
_STORE_FOLDER = tempfile.mkdtemp(prefix="pajamas-eval-")
atexit.register(shutil.rmtree, _STORE_FOLDER, ignore_errors=True)
os.environ["PAJAMAS_EVAL_STORE"] = os.path.join(_STORE_FOLDER, "responses.sqlite")

# Tests that run in the background ignore Ctrl-C, and so would every command that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
DEMO_MODEL = ROOT / "examples" / "demo_model"


@pytest.fixture(scope="session")
def variants() -> Path:
    """Folder with every variant of the demo model, made once and kept between runs."""
    folder = ROOT / "build" / "test-models"
    subprocess.run(
        [sys.executable, DEMO_MODEL / "make_variants.py", folder, "--f32"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


@pytest.fixture(scope="session")
def original() -> Path:
    """The demo model's own weights."""
    return DEMO_MODEL / "weights"
