"""docs/same-model.md shows what its commands print."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "same-model.md"
SHOWN = re.compile(r"```sh\n(.*?)```\n\n```text\n(.*?)```\n", re.DOTALL)


def test_the_page_shows_what_its_commands_print(variants: Path, tmp_path: Path) -> None:
    (tmp_path / "demo-models").symlink_to(variants)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shown = SHOWN.findall(PAGE.read_text("utf-8"))
    assert len(shown) == 4
    for commands, output in shown:
        done = subprocess.run(
            ["bash", "-c", commands],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert "Error" not in done.stderr
        printed = "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")
        is_run = "--layers" in commands  # what an engine computes depends on the processor
        assert _without_figures(printed, is_run) == _without_figures(output.strip("\n"), is_run)


def _without_figures(text: str, drop: bool) -> str:
    return re.sub(r"\d", "0", text) if drop else text
