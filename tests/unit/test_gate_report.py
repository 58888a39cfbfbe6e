"""What a gate shows to people, to CI systems that read JUnit, and to GitHub."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from gate_cases import KNOWLEDGE, pair
from rich.console import Console

from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Finding, Outcome, Requirement, Unit
from pajamas_eval.gate.judge import judge
from pajamas_eval.report.export.github import annotations, markdown
from pajamas_eval.report.export.junit import junit
from pajamas_eval.report.terminal.gate import show
from pajamas_eval.report.wording.gate import conclusion, legend, measured, required, sentence
from pajamas_eval.results.document import Document

EVIL = 'a|b\n# <script>`c`</script> [d](e) *f* _g_ ::error::h %0A, &amp; "i" \x1b[31m\0\ufffe\udcff'
"""Marks of Markdown, HTML, workflow commands and XML, control characters, a lone surrogate."""


def example() -> tuple[Document, list[Finding]]:
    """One requirement of each outcome."""
    made = pair(200, gains=3, losses=30, kl=[0.01, 0.05] * 100)
    made.models[0].label = made.baseline = "original"
    made.benchmarks[0].answer_sets[0].label = "original"
    made.models[1].peak_memory_bytes = 0
    gate = Gate(
        max_size_ratio=1.0,
        max_memory_ratio=0.6,
        benchmarks={KNOWLEDGE: BenchmarkGate(margin=5.0, max_mean_kl=0.031)},
    )
    return made, judge(made, gate)


def evil() -> list[Finding]:
    requirement = Requirement(
        name="margin", unit=Unit.POINTS, threshold=0.01, benchmark="quiz\n|x|"
    )
    return [
        Finding(label=EVIL, requirement=requirement, outcome=outcome, reason=EVIL)
        for outcome in Outcome
    ]


def shown(made: Document, findings: list[Finding]) -> str:
    stream = io.StringIO()
    show(made, findings, Console(file=stream, width=120, color_system=None))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def test_every_requirement_has_its_figure_its_threshold_and_its_verdict() -> None:
    made, findings = example()
    assert (
        shown(made, findings).partition("Gate: ")[2]
        == """\
q4 against original

 requirement                     measured [bounds]               required           verdict
 ───────────────────────────────────────────────────────────────────────────────────────────────
 pajamas_knowledge acc margin    −13.50 points [−18.33, −9.29]   ≥ −5 points        failed
 pajamas_knowledge max_mean_kl   0.03 nats [0.0276, 0.0324]      ≤ 0.031 nats       undecided
 max_memory_ratio                                                ≤ 0.6 × baseline   not measured
 max_size_ratio                  1 × baseline                    ≤ 1 × baseline     passed

pajamas_knowledge max_mean_kl: about 898 further questions would decide it.
max_memory_ratio: the run did not measure it.

In brackets: one-sided bounds, each at 95 % confidence; the verdict is read from them.

q4: failed (1 passed, 1 failed, 1 undecided, 1 not measured)
"""
    )


@pytest.mark.parametrize(
    ("unit", "name", "figure", "threshold", "said", "limit"),
    [
        (Unit.POINTS, "margin", 0.0, 0.0025, "±0.00 points", "≥ −0.25 points"),
        (Unit.PERCENT, "max_flips", 0.0333, 0.05, "3.33 %", "≤ 5 %"),
        (Unit.NATS, "max_mean_kl", 0.000_245, 0.02, "0.000245 nats", "≤ 0.02 nats"),
        (Unit.TOKENS_PER_SECOND, "min_tokens", 1234.5, 20.0, "1,234 tokens/s", "≥ 20 tokens/s"),
        (Unit.BYTES, "max_size_gb", 4.2e9, 6e9, "4.20 GB", "≤ 6.00 GB"),
        (Unit.RATIO, "min_prompt_speed_ratio", 1.234, 0.9, "1.23 × baseline", "≥ 0.9 × baseline"),
    ],
)
def test_figures_have_units(
    unit: Unit, name: str, figure: float, threshold: float, said: str, limit: str
) -> None:
    requirement = Requirement(name=name, unit=unit, threshold=threshold)
    assert measured(Finding(label="q4", requirement=requirement, figure=figure)) == said
    assert required(requirement) == limit


def test_what_is_in_brackets_is_said_once_whatever_confidence_each_has() -> None:
    made, findings = example()
    said = "In brackets: one-sided bounds, each at {} confidence; the verdict is read from them."
    assert list(legend(findings)) == [said.format("95 %")]
    others = [replace(finding, confidence=0.8) for finding in findings[1:2]]
    both = f"95 % ({KNOWLEDGE} acc margin), 80 % ({KNOWLEDGE} max_mean_kl)"
    assert list(legend([*findings[:1], *others, *findings[2:]])) == [said.format(both)]
    assert not list(legend(findings[2:])), "costs have no bounds"
    assert shown(made, findings).count("In brackets") == 1


def test_an_open_bound_is_shown_as_such() -> None:
    requirement = Requirement(name="max_mean_kl", unit=Unit.NATS, threshold=0.02)
    finding = Finding(
        label="q4", requirement=requirement, figure=0.01, lower=0.005, upper=float("inf")
    )
    assert measured(finding) == "0.01 nats [0.005, ∞]"


def test_no_divergence_is_shown_below_zero() -> None:
    requirement = Requirement(name="max_mean_kl", unit=Unit.NATS, threshold=0.02)
    finding = Finding(
        label="q4", requirement=requirement, figure=0.00193, lower=-0.00417, upper=0.00802
    )
    assert measured(finding) == "0.00193 nats [0, 0.00802]"


def test_a_title_is_not_wrapped_at_the_width_of_its_table() -> None:
    made, findings = example()
    made.baseline = "original " * 12
    assert f"\nGate: q4 against {made.baseline.strip()}\n" in shown(made, findings[-1:])


def test_one_line_says_what_it_comes_to() -> None:
    _, findings = example()
    assert conclusion("q4", findings[:1]) == "q4: failed (1 failed)"
    assert conclusion("q4", findings[-1:]) == "q4: passed (1 passed)"
    assert conclusion("q4", findings[-2:]) == "q4: undecided (1 passed, 1 not measured)"


def test_foreign_text_steers_no_terminal() -> None:
    made, _ = example()
    made.baseline = EVIL
    assert not set(shown(made, evil())) & {"\x1b", "\0", "\udcff"}


# -- JUnit ---------------------------------------------------------------------------------


def test_a_suite_for_each_variant_and_a_case_for_each_requirement() -> None:
    _, findings = example()
    (suite,) = ElementTree.fromstring(junit(findings))
    assert suite.attrib["name"] == "q4"
    assert [suite.attrib[key] for key in ("tests", "failures", "errors")] == ["4", "2", "1"]
    found = {case.attrib["name"]: [(r.tag, r.attrib["type"]) for r in case] for case in suite}
    assert found == {
        "pajamas_knowledge acc margin": [("failure", "failed")],
        "pajamas_knowledge max_mean_kl": [("failure", "undecided")],
        "max_memory_ratio": [("error", "not measured")],
        "max_size_ratio": [],
    }
    assert suite[0][0].attrib["message"] == (
        "pajamas_knowledge acc margin failed: −13.50 points [−18.33, −9.29] "
        "(bounds at 95 % confidence), required ≥ −5 points"
    )


def test_foreign_text_breaks_no_xml() -> None:
    (suite,) = ElementTree.fromstring(junit(evil()))
    assert "<script>" in suite.attrib["name"]
    assert not set(suite.attrib["name"]) & {"\x1b", "\0", "\ufffe", "\udcff"}
    assert len(suite) == len(Outcome)


# -- GitHub --------------------------------------------------------------------------------


def test_the_step_summary_is_a_table() -> None:
    made, findings = example()
    first, *_, last, _, said = markdown(findings, made.baseline).rstrip().splitlines()
    assert first == "### q4&#58; failed (1 passed, 1 failed, 1 undecided, 1 not measured)"
    assert last == "| max&#95;size&#95;ratio | 1 × baseline | ≤ 1 × baseline | passed |  |"
    assert said.startswith("In brackets&#58; one-sided bounds, each at 95 % confidence")


def test_foreign_text_is_neither_markdown_nor_html() -> None:
    text = markdown(evil(), EVIL)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(Outcome)
    assert {row.count("|") for row in rows} == {6}
    assert not set(text) & set("<>`*[]_\x1b\0")
    assert [line for line in text.splitlines() if line.startswith("#")] == [text.splitlines()[0]]


def test_proven_faults_are_errors_and_open_questions_warnings() -> None:
    _, findings = example()
    assert list(annotations(findings)) == [
        "::error title=q4%3A pajamas_knowledge acc margin::pajamas_knowledge acc margin failed: "
        "−13.50 points [−18.33, −9.29] (bounds at 95 %25 confidence), "
        "required ≥ −5 points",
        "::warning title=q4%3A pajamas_knowledge max_mean_kl::pajamas_knowledge max_mean_kl "
        "undecided: 0.03 nats [0.0276, 0.0324] (bounds at 95 %25 confidence), "
        "required ≤ 0.031 nats; about 898 further questions would decide it",
        "::warning title=q4%3A max_memory_ratio::max_memory_ratio not measured: required ≤ 0.6 × "
        "baseline; the run did not measure it",
    ]


def test_foreign_text_gives_github_no_command() -> None:
    lines = annotations(evil())
    assert lines
    for line in lines:
        assert len(line.splitlines()) == 1
        command, title, _ = line.removeprefix("::").split("::", 2)[0].partition(" title=")
        assert command in ("error", "warning")
        assert title
        assert "%250A" in line
        properties = line.removeprefix("::").partition("::")[0]
        assert not set(properties.partition("title=")[2]) & set(":,\n")


def test_a_finding_without_a_figure_is_a_sentence_too() -> None:
    requirement = Requirement(name="max_flips", unit=Unit.PERCENT, threshold=0.05, benchmark="mmlu")
    finding = Finding(label="q4", requirement=requirement, reason="the benchmark was not run")
    assert sentence(finding) == (
        "mmlu max_flips not measured: required ≤ 5 %; the benchmark was not run"
    )
