"""Hostile text through models, store, terminal and JSON: it comes back, and steers nothing."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from faulty import COMMAND, EVERYTHING, Place, assert_fit_for_a_terminal

from pajamas_eval.results.document import Document

HOSTILE = {
    "ansi": "\x1b[2J\x1b[31mEVIL\x1b]0;title\x07\x9b31m",
    "returns": "fine\rEVIL\r\n\x08\x08\x0b\x0c\x7f",
    "nul": "a\0b\0",
    "bidi": "\u202egnp.exe\u202c \u2066x\u2069\u200f",
    "html": "<script>alert(1)</script>&amp;</td><!--",
    "sql": "'; DROP TABLE responses; --\"`",
    "markup": "[red]EVIL[/red][/][link=file:///etc/passwd]x[/link]",
    "surrogates": "\ud800x\udfff\udcff",
    "json": '"}],"score":1,\\u0000\\"',
    "invisible": "\u200b\ufeff\u2028\u2029\u0085\U000e0041",
    "long": "x" * 10_000_000,
}


def exported(place: Place) -> list[dict[str, object]]:
    """All that the store holds, as another program reads it."""
    file = place.folder / "export.jsonl"
    result = place.run("store", "export", file)
    assert result.returncode == 0
    return [json.loads(line) for line in file.read_text("ascii").splitlines()]


def test_what_a_model_says_comes_back_as_it_was(place: Place) -> None:
    place.write_gsm8k([f"Q{i}?" for i in range(len(HOSTILE))])
    (place.folder / "texts").mkdir()
    for i, text in enumerate(HOSTILE.values()):
        (place.folder / "texts" / f"{i}.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    asked = ("compare", place.model("a", says="texts"), place.model("b"), "-b", "gsm8k")
    first, result = place.documented(*asked, "--shots", 0)
    assert said(first, "a") == [*HOSTILE.values()]
    assert "EVIL" not in result.stdout
    assert len(result.stdout) < 10_000

    kept = [line["text"] for line in exported(place) if line["record"] == "response"]
    assert sorted(map(str, kept[: len(HOSTILE)])) == sorted(HOSTILE.values())

    place.forget_calls()
    again, _ = place.documented(*asked, "--shots", 0)
    assert said(again, "a") == [*HOSTILE.values()]
    assert place.calls("a") == []
    merged, _ = place.documented("compare", "run:1", "run:2")
    assert said(merged, "run:2:a") == [*HOSTILE.values()]
    assert place.run("show", 1).returncode == 0
    assert place.run("store", "verify").returncode == 0


def said(document: Document, label: str) -> list[str | None]:
    """What a model answered to each question."""
    (answers,) = (a for a in document.benchmarks[-1].answer_sets if a.label == label)
    return [answer.texts[0] if answer.texts else None for answer in answers.answers]


def test_questions_are_asked_as_they_are(place: Place) -> None:
    texts = [text for name, text in HOSTILE.items() if name != "surrogates"]  # which JSON lacks
    place.write_gsm8k([f"{text} Q{i}?" for i, text in enumerate(texts)])
    document, _ = place.documented("run", place.model("a"), "-b", "gsm8k", "--shots", 0)
    answers = document.benchmarks[0].answer_sets[0].answers
    assert [a.scores["exact_match_strict"] for a in answers] == [1.0] * len(texts)
    expected = [f"Question: {text} Q{i}?\nAnswer:" for i, text in enumerate(texts)]
    assert [call.encode() for call in place.calls("a")[1:]] == [
        text.encode("unicode_escape")[-200:] for text in expected
    ]


def test_a_question_with_surrogates_is_refused_by_its_line(place: Place) -> None:
    place.write_gsm8k(["Q0?", HOSTILE["surrogates"]])
    result = place.run("run", place.model("a"), "-b", "gsm8k", "--shots", 0)
    assert result.returncode == 2
    assert "gsm8k/test.jsonl, line 2: " in result.stderr


NAMES = {name: text for name, text in HOSTILE.items() if name not in ("long", "surrogates")}


def config(place: Place, name: str, **entries: object) -> Path:
    """A configuration with a hostile label; its file's name is harmless."""
    file = place.folder / f"{name}.toml"
    quoted = {
        key: "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in str(value))
        for key, value in entries.items()
    }
    file.write_text("".join(f'{key} = "{value}"\n' for key, value in quoted.items()))
    return file


def test_labels_steer_nothing(place: Place) -> None:
    place.model("m", "the same")
    configs = [
        config(
            place,
            name,
            runtime="faulty",
            path="m.bin",
            label=f"{label} {name}",
            dtype=name,
            fault="chatter",
        )
        for name, label in NAMES.items()
    ]
    outside = config(
        place, "outside", runtime="faulty", path="m.bin", label="../../escaped", fault="chatter"
    )
    document, _ = place.compare(*map(str, configs), str(outside))
    assert len(document.models) == len(NAMES) + 1
    for command in (("runs",), ("show", 1), ("store", "info")):
        assert place.run(*command).returncode == 0
    assert all(
        {c for c in model.label if c < " " or "\x7f" <= c <= "\x9f"} == set()
        for model in document.models
    ), "a line of its own would forge a line of the report"
    assert all(re.fullmatch(r"run1-[A-Za-z0-9_-]+\.log", log) for log in place.logs())
    assert len(place.logs()) == len(document.models)
    assert not list(place.folder.parent.glob("**/escaped*"))
    quoted = place.run("store", "prune", "--model", f"{HOSTILE['sql']} sql")
    assert quoted.stdout.startswith("removed 28 responses and 0 runs")
    assert place.run("store", "verify").returncode == 0


def test_a_path_steers_nothing(place: Place) -> None:
    """One that is not UTF-8 reaches Python with surrogates in it."""
    name = b"m\xff\xfe\x1b[31mEVIL\r\n\xe2\x80\xae'\".bin"
    path = os.fsdecode(os.fsencode(place.folder) + b"/" + name)
    Path(path).write_text("m")
    arguments = [os.fsencode(COMMAND), b"run", b"faulty[path=" + name + b"]"]
    arguments += [*map(str.encode, EVERYTHING), b"--json", b"out.json"]
    result = subprocess.run(
        arguments, capture_output=True, cwd=place.folder, env=place.environment, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert_fit_for_a_terminal((result.stdout + result.stderr).decode("utf-8"))
    document = json.loads((place.folder / "out.json").read_text("utf-8"))
    assert os.fsencode(document["models"][0]["spec"]) == name
    for command in (("runs",), ("show", 1), ("store", "info")):
        assert place.run(*command).returncode == 0
    Path(path).write_text("another")
    assert place.run("compare", "--resume", 1).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "{}"),
        ("run", "x=hf[path={},n_ctx=1"),
        ("run", "{}[path=x]"),
        ("run", "org/name", "-b", "{}"),
        ("run", "org/name", "--data", "{}", "-b", "gsm8k"),
        ("compare", "org/name", "org/other", "--baseline", "{}"),
        ("compare", "run:{}", "run:1"),
        ("store", "prune", "--model", "{}"),
        ("store", "info", "--store", "/proc/{}"),
        ("gate", "--gate", "{}", "a", "b"),
        ("{}",),
    ],
    ids=" ".join,
)
def test_complaints_steer_nothing(place: Place, arguments: tuple[str, ...]) -> None:
    text = "\x1b[31mEVIL\r\u202e[red]\x9b.gguf"
    result = place.run(*(argument.replace("{}", text) for argument in arguments))
    assert result.returncode == 2
    assert "Error: " in result.stderr
    assert "\x1b" not in result.stderr
