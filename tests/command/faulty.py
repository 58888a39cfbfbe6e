"""Runs the real command on models of the faulty runtime, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pajamas_eval.results.document import Document
from pajamas_eval.results.file import read

COMMAND = Path(sys.executable).with_name("pajamas-eval")
PLUGIN = Path(__file__).parent.parent / "plugin"
EVERYTHING = ("-b", "mmlu_anatomy,gsm8k", "--shots", "0")


class Place:
    """A folder with data sets, models, a store and nobody else's caches.

    Attributes:
        store: The response store that commands use unless they are told otherwise.
    """

    def __init__(self, folder: Path, choices: int = 6, problems: int = 4) -> None:
        self.folder = folder
        self.store = folder / "store" / "responses.sqlite"
        self.write_mmlu([{"question": f"Q{i}?", "answer": i % 4} for i in range(choices)])
        self.write_gsm8k([f"Q{i}?" for i in range(problems)])
        self.environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "home" / "cache"),
            "PYTHONPATH": os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")]),
            "PAJAMAS_EVAL_DATA": str(folder / "data"),
            "PAJAMAS_EVAL_STORE": str(self.store),
            "COLUMNS": "120",
        }

    def write_mmlu(self, rows: list[dict[str, Any]]) -> None:
        """Questions of anatomy, each with four choices."""
        rows = [{"subject": "anatomy", "choices": [*"wxyz"], **row} for row in rows]
        self._write("mmlu", rows)

    def write_gsm8k(self, questions: list[str]) -> None:
        """Problems whose n-th answer is n."""
        self._write(
            "gsm8k", [{"question": q, "answer": f"#### {i}"} for i, q in enumerate(questions)]
        )

    def _write(self, name: str, rows: list[dict[str, Any]]) -> None:
        file = self.folder / "data" / name / "test.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def model(self, label: str, content: str | None = None, **options: object) -> str:
        """A model's spec; its file is written if it is not there, or as `content` says."""
        file = self.folder / f"{label}.bin"
        if content is not None or not file.exists():
            file.write_text(label if content is None else content)
        given = "".join(f",{name}={value}" for name, value in options.items())
        return f"{label}=faulty[path={file.name}{given}]"

    def run(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the command to its end; whatever it prints must be fit for a terminal."""
        result = subprocess.run(
            [COMMAND, *map(str, arguments)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            env={**self.environment, **environment},
            timeout=120,
        )
        assert_fit_for_a_terminal(result.stdout + result.stderr)
        return result

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Starts the command as a terminal does, in a process group of its own."""
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            start_new_session=True,
        )

    def compare(
        self, *models: str, code: int = 0, **environment: str
    ) -> tuple[Document, subprocess.CompletedProcess[str]]:
        """Compares models on all questions; the document, and what was printed."""
        return self.documented("compare", *models, *EVERYTHING, code=code, **environment)

    def documented(
        self, *arguments: object, code: int = 0, **environment: str
    ) -> tuple[Document, subprocess.CompletedProcess[str]]:
        """Runs a command that ends with this exit code and writes a document."""
        file = self.folder / "out.json"
        file.unlink(missing_ok=True)
        result = self.run(*arguments, "--json", file, **environment)
        assert result.returncode == code, result.stderr
        return read(file), result

    def calls(self, label: str) -> list[str]:
        """What a model was asked so far, in order; `load` where it was loaded."""
        file = self.folder / f"{label}.bin.calls"
        return file.read_text().splitlines() if file.exists() else []

    def computed(self, label: str) -> Counter[str]:
        """How often each request was computed."""
        return Counter(call for call in self.calls(label) if call != "load")

    def forget_calls(self) -> None:
        """Starts to count anew."""
        for file in self.folder.glob("*.calls"):
            file.unlink()

    def logs(self) -> dict[str, str]:
        """What engines printed, by the name of the log file."""
        folder = self.store.with_name(self.store.name + "-logs")
        return {file.name: file.read_text(errors="replace") for file in folder.glob("*")}


def assert_fit_for_a_terminal(text: str) -> None:
    """No traceback, and nothing that could steer a terminal."""
    assert "Traceback" not in text
    assert not {c for c in text if c < " " or "\x7f" <= c <= "\x9f"} - {"\n"}
    assert not set(text) & {*"\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
