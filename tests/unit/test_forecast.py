"""A pilot says what a margin takes."""

import pytest
from click.testing import CliRunner
from handmade import answer_set, document
from rich.console import Console

from pajamas_eval.analysis.forecast import Forecast, forecasts
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.cli import main
from pajamas_eval.report.terminal.forecast import show_plan
from pajamas_eval.report.wording.figures import duration
from pajamas_eval.results.document import Document
from pajamas_eval.statistics.planning import questions_needed, smallest_margin


def pilot(gains: int, losses: int, count: int, *, available: int, failed: int = 0) -> Document:
    """A baseline and q4; each took a tenth of a second for a question."""
    values = [(0.0, 1.0)] * gains + [(1.0, 0.0)] * losses
    values += [(1.0, 1.0)] * (count - gains - losses)
    base = {str(i): pair[0] for i, pair in enumerate(values)}
    q4: dict[str, float | str] = {str(i): pair[1] for i, pair in enumerate(values)}
    for i in range(failed):
        q4[str(count - 1 - i)] = "no room"
    made = document([answer_set("base", base), answer_set("q4", q4)], available=available)
    summarize(made)
    return made


def forecast(made: Document, power: float = 0.8) -> Forecast:
    (found,) = forecasts(made, power)
    return found


def test_the_pilots_discordance_says_how_many_questions_a_margin_takes() -> None:
    found = forecast(pilot(3, 5, 200, available=14_042))
    assert (found.benchmark, found.label, found.pilot) == ("quiz", "q4", 200)
    assert found.discordance == 0.04
    assert found.needed == questions_needed(0.01, 0.04) == 2474
    assert found.needed_at_most == questions_needed(0.01, found.discordance_upper or 0)
    assert found.possible


def test_the_margin_is_the_benchmarks_own_where_none_is_named() -> None:
    made = pilot(3, 5, 200, available=14_042)
    made.benchmarks[0].metrics = [Metric("acc", default_margin=4.0)]
    summarize(made)
    found = forecast(made)
    assert (found.margin, found.margin_is_default) == (Margin(4.0), True)
    assert found.needed == questions_needed(0.04, 0.04)


def test_time_is_that_of_both_models_at_the_pilots_speed() -> None:
    found = forecast(pilot(4, 4, 200, available=14_042))
    assert found.seconds == pytest.approx(2474 * 0.2)


def test_a_question_that_failed_tells_nothing() -> None:
    found = forecast(pilot(4, 4, 200, available=14_042, failed=100))
    assert found.pilot == 100
    assert found.discordance == 0.08
    assert found.seconds == pytest.approx(found.needed * 0.2)


def test_too_few_questions_can_certify_a_larger_margin_only() -> None:
    found = forecast(pilot(10, 10, 200, available=1319))
    assert not found.possible
    assert found.smallest_margin == smallest_margin(1319, 0.1)
    assert 0.021 < found.smallest_margin < 0.023
    assert found.seconds == pytest.approx(1319 * 0.2)


def test_a_variant_that_answered_nothing_has_no_forecast() -> None:
    assert list(forecasts(pilot(0, 0, 5, available=5, failed=5), 0.8)) == []


def shown(made: Document, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        show_plan(list(forecasts(made, 0.8)), console, 0.8, 0.95)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def test_the_plan_in_80_columns() -> None:
    made = pilot(4, 4, 200, available=14_042)
    assert (
        shown(made).partition("Times are ")[0]
        == """\
Questions that prove a variant without loss no worse:
margin 1 point (default of quiz), power 80 %, confidence 95 %

quiz: 14,042 questions available

                   discordance      questions             expected
 variant   pilot   [95 %]              needed   at most       time
 ─────────────────────────────────────────────────────────────────
 q4          200   4.0 [2.0, 7.7]       2,474     4,757      8 min

"""
    )


def test_the_plan_in_60_columns() -> None:
    made = pilot(10, 10, 200, available=1319)
    assert (
        shown(made, width=60).partition("quiz cannot")[0]
        == """\
Questions that prove a variant without loss no worse:
margin 1 point (default of quiz), power 80 %, confidence 95 %

quiz: 1,319 questions available

           questions               expected
 variant      needed   at most         time
 ──────────────────────────────────────────
 q4            6,183     9,238   not enough

q4: discordance 10.0 %, 95 % interval 6.6 to 14.9, in a pilot of 200 questions
"""
    )


def test_what_a_benchmark_cannot_certify_is_said() -> None:
    output = shown(pilot(10, 10, 200, available=1319))
    assert "quiz cannot certify 1 point for q4; its smallest margin is 2.2 (1,319 q" in output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["org/a"], "plan needs two models or more"),
        (["org/a", "org/b", "--power", "1"], "Invalid value for '--power'"),
        (["org/a", "org/b", "--margin", "0"], "Invalid value for '--margin'"),
        (["org/a", "org/b", "-b", "mmul"], "did you mean 'mmlu'?"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert result.exit_code == 2
    assert complaint in result.stderr
