"""Results of several runs are put together: what they must have in common, and what not."""

from collections.abc import Sequence

import pytest
from handmade import answer_set, document

from pajamas_eval.analysis.merging import merged
from pajamas_eval.api.requests import GenerationResult, LogLikelihoodResult, Response
from pajamas_eval.errors import UsageError
from pajamas_eval.results.document import Document
from pajamas_eval.results.run_config import RunConfig

RIGHT = {"a": 1.0, "b": 0.0}


def run(label: str, readings: Sequence[str] = (), length: int | None = 64) -> Document:
    """A run of one model alone."""
    made = document([answer_set(label, RIGHT, reading_digests=list(readings))])
    made.settings.context_length = length
    return made


def together(*runs: Document) -> Document:
    named = [(f"run:{number}", made) for number, made in enumerate(runs, 1)]
    return merged(named, None, RunConfig())


def test_requests_that_two_runs_read_alike_are_counted_one_by_one() -> None:
    made = together(run("a", ["01", "02", "03", "", ""]), run("b", ["01", "ff", "", "04", ""]))
    (check,) = made.fairness.tokens
    assert (check.identical, check.unknown, check.total) == (1, 3, 5)


def test_context_lengths_may_differ_where_every_text_fits() -> None:
    made = together(run("a", length=64), run("b", length=32))
    assert made.settings.context_length == 32
    assert made.fairness.notes == [
        "run:2 had a context of 32 tokens, run:1 of 64; every text fitted into both"
    ]


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize(
    "part",
    [
        LogLikelihoodResult(-1.0, True, 1, 1, 60, truncated_tokens=1),
        GenerationResult("x", "length", 1, 60, truncated_tokens=1),
        LogLikelihoodResult(-1.0, True, 65, 65, 2),  # two windows
    ],
)
def test_context_lengths_may_not_differ_where_one_text_does_not_fit(
    part: Response, cut: int
) -> None:
    runs = [run("a", length=64), run("b", length=63)]
    runs[cut].benchmarks[0].answer_sets[0].answers[1].parts = [part]
    with pytest.raises(UsageError, match="a context of 64 tokens in run:1 and a context of 63 "):
        together(*runs)


def test_a_text_that_just_fits_is_not_cut() -> None:
    runs = [run("a", length=64), run("b", length=63)]
    for made in runs:
        made.benchmarks[0].answer_sets[0].answers[0].parts = [
            LogLikelihoodResult(-1.0, True, 4, 4, 60)  # the last token is scored, and not run
        ]
    assert together(*runs).settings.context_length == 63


def test_an_unknown_context_length_is_equal_to_none() -> None:
    with pytest.raises(UsageError, match="not comparable"):
        together(run("a", length=64), run("b", length=None))
    assert together(run("a", length=None), run("b", length=None)).fairness.notes == []
