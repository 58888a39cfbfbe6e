"""The demo, run as `make demo` runs it, and what the README says it prints."""

import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest

from pajamas_eval.analysis.comparisons import headlines
from pajamas_eval.analysis.summary import summarize
from pajamas_eval.results.document import Document
from pajamas_eval.results.file import read
from pajamas_eval.statistics.verdicts import Verdict

ROOT = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).with_name("pajamas-eval")
VARIANTS = (
    "demo-f16.gguf",
    "demo-q8_0.gguf",
    "demo-q4_k_m.gguf",
    "demo-q2_k.gguf",
    "demo-mlx-8bit",
    "demo-mlx-4bit",
    "demo-mlx-2bit",
)
LABELS = ["original", *(name.removesuffix(".gguf") for name in VARIANTS)]

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def demo(
    original: Path, variants: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Document]:
    """What the demo prints, and its result document."""
    out = tmp_path_factory.mktemp("demo") / "demo.json"
    models = [f"original={original}", *(str(variants / name) for name in VARIANTS)]
    result = subprocess.run(
        [COMMAND, "compare", *models, "--json", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, read(out)


def test_every_variant_answers_every_question(demo: tuple[str, Document]) -> None:
    _, document = demo
    assert [m.label for m in document.models] == LABELS
    assert {r.name: len(r.questions) for r in document.benchmarks} == {
        "pajamas_knowledge": 200,
        "pajamas_commonsense": 100,
        "pajamas_arithmetic": 200,
    }
    for record in document.benchmarks:
        for answers in record.answer_sets:
            assert [a.doc_id for a in answers.answers] == [q.doc_id for q in record.questions]
            assert not [a.error for a in answers.answers if a.error]


def test_all_variants_read_the_same_tokens(demo: tuple[str, Document]) -> None:
    _, document = demo
    assert [check.label for check in document.fairness.tokens] == [
        model.label for model in document.models[1:]
    ]
    for check in document.fairness.tokens:
        assert check.identical == check.total == 200 * 4 + 100 * 4 + 200


def test_the_original_is_mostly_right_and_two_bits_are_not_enough(
    demo: tuple[str, Document],
) -> None:
    _, document = demo
    scores = {
        (s.benchmark, s.label): s.value
        for s in document.scores
        if s.subset is None and not s.metric.endswith("flexible")
    }
    for benchmark in ("pajamas_knowledge", "pajamas_commonsense", "pajamas_arithmetic"):
        assert scores[benchmark, "original"] > 0.6
    flips = {
        label: sum(
            c.gains + c.losses
            for c in headlines(document, document.comparisons)
            if c.label == label
        )
        for label in LABELS[1:]
    }
    assert flips["demo-mlx-2bit"] > 5 * max(1, flips["demo-f16"])
    assert flips["demo-q2_k"] > flips["demo-q8_0"]


def test_eight_bits_are_no_worse_and_two_bits_are_worse(demo: tuple[str, Document]) -> None:
    _, document = demo
    verdicts = {v.label: v.verdict for v in document.verdicts}
    for label in ("demo-f16", "demo-q8_0", "demo-mlx-8bit"):
        assert verdicts[label] is Verdict.NO_WORSE
    for label in ("demo-q2_k", "demo-mlx-2bit"):
        assert verdicts[label] is Verdict.WORSE


def test_questions_asked_until_decided_give_the_verdicts_of_all(
    demo: tuple[str, Document], original: Path, variants: Path, tmp_path: Path
) -> None:
    """The full run's answers are in the store: nothing is computed again."""
    out = tmp_path / "early.json"
    models = [f"original={original}", *(str(variants / name) for name in VARIANTS)]
    subprocess.run(
        [COMMAND, "compare", *models, "--margin", "5", "--until-decided", "--json", out],
        check=True,
        capture_output=True,
    )
    early, full = read(out), deepcopy(demo[1])
    full.settings.margins = early.settings.margins
    summarize(full)
    assert [(v.label, v.verdict) for v in early.verdicts] == [
        (v.label, v.verdict) for v in full.verdicts
    ]
    asked = sum(len(s.answers) for r in early.benchmarks for s in r.answer_sets[1:])
    assert asked < 0.8 * 500 * len(VARIANTS)
    in_early, in_full = (
        {(c.benchmark, c.label): c.verdict for c in headlines(d, d.comparisons)}
        for d in (early, full)
    )
    firm = {key for key, verdict in in_early.items() if verdict is not Verdict.UNDECIDED}
    assert len(firm) >= 15
    assert all(in_early[key] is in_full[key] for key in firm)
    assert not sum(s.evaluated_tokens for r in early.benchmarks for s in r.answer_sets)


def test_speeds_are_those_of_distinct_tokens(demo: tuple[str, Document]) -> None:
    """Every variant reads the same tokens, however an engine lays them out."""
    printed, document = demo
    for record in document.benchmarks:
        first, *others = record.answer_sets
        generates = record.name == "pajamas_arithmetic"
        assert len({a.prompt_tokens for a in others}) == 1
        # The original was asked some questions first, and so read what all share twice.
        assert 1 <= first.prompt_tokens / others[0].prompt_tokens < 1.1
        for answers in record.answer_sets:
            assert answers.overhead >= 1
            assert answers.prompt_tokens_per_second > 0
            assert (answers.generated_tokens_per_second > 0) == generates
    assert printed.count("generated") == 1


def test_f16_in_llama_cpp_scores_as_the_original(demo: tuple[str, Document]) -> None:
    """Same weights, another engine: only answers on the edge may differ."""
    _, document = demo
    found = [c for c in headlines(document, document.comparisons) if c.label == "demo-f16"]
    assert {comparison.benchmark for comparison in found} == {r.name for r in document.benchmarks}
    for comparison in found:
        assert comparison.gains + comparison.losses <= 0.02 * comparison.count


def test_the_answers_hold_what_later_questions_need(demo: tuple[str, Document]) -> None:
    _, document = demo
    by_name = {record.name: record for record in document.benchmarks}
    choice = by_name["pajamas_knowledge"].answer_sets[0].answers[0]
    assert len(choice.log_probabilities) == 4
    assert choice.parts[0].prompt_tokens > 0
    written = by_name["pajamas_arithmetic"].answer_sets[0].answers[0]
    assert written.texts[0]
    assert written.finish_reasons[0] in ("stop", "end", "length")


ROW = re.compile(r"^ (?P<label>[\w-]+) +(?P<rest>\d+\.\d \[.*)$", re.MULTILINE)
TITLE = re.compile(r"^(?P<name>pajamas_\w+): \d+ questions, \d-shot", re.MULTILINE)
MARGIN = re.compile(r"\(margin (\d+)\)")
FIGURE = re.compile(r"[+−]?\d+\.\d")
VERDICT = re.compile(r"baseline|no worse|worse|undecided")


def rows(text: str) -> dict[tuple[str, str], tuple[list[float], str]]:
    """Scores, differences and their intervals, and the verdict, of each label in each table."""
    found = {}
    titles = list(TITLE.finditer(text))
    for title, end in zip(titles, [*(t.start() for t in titles[1:]), len(text)], strict=True):
        for row in ROW.finditer(text, title.end(), end):
            verdict = VERDICT.search(row["rest"])
            assert verdict, row["rest"]
            before = row["rest"][: verdict.start()]  # speeds follow
            figures = [float(f.replace("−", "-")) for f in FIGURE.findall(before)]
            found[title["name"], row["label"]] = figures, verdict[0]
    return found


def test_every_set_is_judged_at_its_own_margin_and_its_intervals_say_so(
    demo: tuple[str, Document],
) -> None:
    printed, document = demo
    assert MARGIN.findall(printed) == ["6", "4", "4"]
    assert (
        "Verdict at margins of 6 points (default of pajamas_commonsense), 4 points (default of "
        "pajamas_knowledge, pajamas_arithmetic) and 95 % confidence"
    ) in printed
    for comparison in headlines(document, document.comparisons):
        margin = {"pajamas_commonsense": 0.06}.get(comparison.benchmark, 0.04)
        assert comparison.lower is not None
        assert comparison.upper is not None
        found = comparison.verdict
        assert (comparison.lower >= -margin) is (found is Verdict.NO_WORSE)
        assert (comparison.upper <= -margin) is (found is Verdict.WORSE)


def test_readme_shows_what_the_demo_prints(demo: tuple[str, Document]) -> None:
    """Times and memory differ between machines; scores only by an answer on the edge."""
    printed, _ = demo
    readme = (ROOT / "README.md").read_text("utf-8")
    quoted = readme.partition("<!-- demo -->")[2].partition("<!-- /demo -->")[0]
    expected, actual = rows(quoted), rows(printed)
    assert MARGIN.findall(quoted) == MARGIN.findall(printed)
    assert expected.keys() == actual.keys()
    assert len(expected) == 3 * len(LABELS)
    for key, (figures, verdict) in expected.items():
        assert len(figures) in ((3, 4, 5) if verdict == "baseline" else (6, 7, 8)), key
        assert actual[key][0] == pytest.approx(figures, abs=2.01), key
        assert actual[key][1] == verdict, key


class TestSubsets:
    def test_a_smaller_limit_is_part_of_a_larger_one(self, variants: Path, tmp_path: Path) -> None:
        asked = []
        for limit in (5, 15):
            out = tmp_path / f"{limit}.json"
            subprocess.run(
                [COMMAND, "run", variants / "demo-q8_0.gguf", "--limit", str(limit)]
                + ["--json", out],
                check=True,
                capture_output=True,
            )
            document = read(out)
            asked.append(
                {
                    (r.name, q.doc_id, q.prompt_hash)
                    for r in document.benchmarks
                    for q in r.questions
                }
            )
        assert len(asked[0]) == 4 * 5
        assert asked[0] < asked[1]


def test_chat_template_reaches_every_runtime_alike(
    original: Path, variants: Path, tmp_path: Path
) -> None:
    out = tmp_path / "chat.json"
    file = variants / "demo-f32.gguf"
    exact = f"gguf[path={file},cache_type=f32,flash_attention=false]"
    subprocess.run(
        [COMMAND, "compare", f"original={original}", exact, variants / "demo-mlx"]
        + ["--apply-chat-template", "--limit", "20", "--json", out],
        check=True,
        capture_output=True,
    )
    document = read(out)
    assert document.settings.template_digest
    assert [check.label for check in document.fairness.tokens] == [
        model.label for model in document.models[1:]
    ]
    for check in document.fairness.tokens:
        assert check.identical == check.total
    for record in document.benchmarks:
        first, *others = record.answer_sets
        for other in others:
            pairs = list(zip(first.answers, other.answers, strict=True))
            for a, b in pairs:
                assert [p.prompt_tokens for p in a.parts] == [p.prompt_tokens for p in b.parts]
            # One near-tie at most.
            assert sum(a.texts == b.texts for a, b in pairs) >= len(pairs) - 1
