"""What is said of runs and stores."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pajamas_eval.report.terminal.stored_runs import asked, info_lines, runs_table
from pajamas_eval.store import Run
from pajamas_eval.store.maintenance import StoreInfo

AS_RECORDED: dict[str, Any] = {
    "models": ["original", "q4=m.gguf"],
    "baseline": None,
    "benchmarks": ["gsm8k"],
    "data": None,
    "folder": "/models",
    "json_file": None,
    "seed": 1234,
    "limit": None,
    "shots": None,
    "apply_chat_template": False,
    "exact": False,
    "confidence": 0.95,
    "margins": [],
    "until_decided": False,
    "noise_floor": False,
    "same_weights": [],
    "timeout": 300.0,
}


def run(**changes: Any) -> Run:
    known: dict[str, Any] = {
        "id": 12,
        "started": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        "finished": None,
        "state": "finished",
        "asked": AS_RECORDED,
        "settings": None,
        "machine": None,
        "versions": None,
        "computed": 1400,
        "duplicates": 0,
    }
    return Run(**(known | changes))


def said(**changes: Any) -> list[str]:
    return list(asked(run(**changes), [], "go on"))


def test_a_run_as_it_was_asked_for() -> None:
    engines = {"original": {"versions": {"torch": "2.13"}, "device": "cpu"}}
    assert said(settings={"engines": engines}) == [
        "run 12: finished, started 2025-01-02 03:04:05 UTC",
        "models: original q4=m.gguf",
        "benchmarks: gsm8k",
        "in the folder: /models",
        "original: torch 2.13 on CPU",
        "computed 1,400 responses, 0 of them twice",
    ]


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"margins": [{"value": 7.0}]}, "--margin 7"),
        (
            {"margins": [{"value": 7.5, "unit": "points"}, {"value": 2.0, "unit": "%"}]},
            "--margin 7.5 --margin 2%",
        ),
        ({"confidence": 0.999999}, "--confidence 0.999999"),
        ({"apply_chat_template": True, "exact": True}, "--apply-chat-template --exact"),
        ({"limit": 50, "shots": 0, "baseline": "q 4"}, "--baseline 'q 4' --limit 50 --shots 0"),
        ({"json_file": "/a/r.json", "timeout": 60.0}, "--json /a/r.json --timeout 60"),
        ({"same_weights": ["a", "b"]}, "--same-weights a --same-weights b"),
        ({"models": ["m.gguf"], "margins": [{"value": 7.0}], "seed": 5}, "--seed 5"),
        # as earlier versions recorded it
        ({"margin": 0.07, "patience": 60.0}, "--margin 7 --timeout 60"),
        ({"margin": 0.01, "benchmarks": "gsm8k", "seed": 5}, "--seed 5"),
    ],
)
def test_options_are_said_as_they_are_typed(changes: dict[str, Any], options: str) -> None:
    assert f"asked with: {options}" in said(asked=AS_RECORDED | changes)


@pytest.mark.parametrize("recorded", [None, [], {}, {"models": 3, "margin": 0.5}])
def test_what_another_version_recorded_is_no_error(recorded: object) -> None:
    assert said(asked=recorded)[-1].startswith("computed ")


def test_without_runs_there_is_no_table() -> None:
    assert runs_table([]) == "no runs"
    assert runs_table([run()]) != "no runs"


def test_counts_have_separators() -> None:
    held = StoreInfo(
        path=Path("s.sqlite"),
        size_bytes=1000,
        schema_version=1,
        responses=1400,
        models=[],
        runs={"finished": 1200},
    )
    assert list(info_lines(held))[1] == "1,400 responses; runs: 1,200 finished"
