"""What a third party can add: a small plugin of each kind, through the real command."""

import json
import math
import os
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from faulty import Place
from scipy.stats import binomtest, gmean, ttest_rel
from scipy.stats import t as student

from pajamas_eval.report.wording.figures import margin_text
from pajamas_eval.results.document import AnswerSet, Comparison, Document
from pajamas_eval.results.file import read


def answers(document: Document, label: str) -> AnswerSet:
    (found,) = (a for a in document.benchmarks[0].answer_sets if a.label == label)
    return found


def values(document: Document, label: str, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([answer.scores[metric] for answer in answers(document, label).answers])


def compared(document: Document, label: str, metric: str) -> Comparison:
    (found,) = (c for c in document.comparisons if (c.label, c.metric) == (label, metric))
    return found


def clusters(document: Document) -> list[str]:
    return [question.cluster for question in document.benchmarks[0].questions]


def resumed(place: Place, run: int = 1) -> Document:
    """What `--resume` finds; everything was stored by the run."""
    document, _ = place.documented("compare", "--resume", run)
    for answer_set in document.benchmarks[0].answer_sets:
        assert answer_set.cached_responses > 0
        assert answer_set.evaluated_tokens == 0
    return document


def same(one: Document, other: Document) -> bool:
    """Whether two documents say the same of the models."""
    return (
        [[a.answers for a in r.answer_sets] for r in one.benchmarks]
        == [[a.answers for a in r.answer_sets] for r in other.benchmarks]
        and one.comparisons == other.comparisons
        and one.scores == other.scores
    )


def clustered(
    differences: np.ndarray[Any, Any], groups: list[str], weights: np.ndarray[Any, Any] | None
) -> tuple[float, float, float, float]:
    """Mean, one-sided 95 % bounds and p-value by statsmodels, with G − 1 degrees of freedom.

    Its small-sample factor is G/(G − 1) · (n − 1)/(n − k), which for one parameter is ours.
    """
    ones = np.ones(len(differences))
    model = sm.WLS(differences, ones, weights=ones if weights is None else weights)
    fit = model.fit(
        cov_type="cluster", cov_kwds={"groups": np.unique(groups, return_inverse=True)[1]}
    )
    mean, error = float(fit.params[0]), float(fit.bse[0])
    degrees = len(set(groups)) - 1
    half = float(student.ppf(0.95, degrees)) * error
    return mean, mean - half, mean + half, float(2 * student.sf(abs(mean) / error, degrees))


# -- an image classifier -------------------------------------------------------------------


@pytest.fixture
def pictures(place: Place) -> Place:
    """Twenty dark and twenty light pictures, some nearly grey."""
    folder = place.folder / "data"
    for i in range(40):
        name, brightness = ("light", 200 - 2 * i) if i % 2 else ("dark", 30 + i)
        (folder / f"{i:02}-{name}.raw").write_bytes(bytes([brightness] * 64))
    return place


def test_an_image_classifier(pictures: Place) -> None:
    place = pictures
    for label, threshold in (("base", "110"), ("shifted", "165")):
        (place.folder / f"{label}.txt").write_text(threshold)
    models = [f"{label}=shades[path={label}.txt]" for label in ("base", "shifted")]
    document, result = place.documented("compare", *models, "-b", "shades", "--margin", "5")
    assert "shades: 40 questions" in result.stdout
    assert "shifted is worse" in result.stdout
    found = compared(document, "shifted", "acc")
    base, shifted = (values(document, label, "acc") for label in ("base", "shifted"))
    assert (found.gains, found.losses) == ((shifted > base).sum(), (shifted < base).sum())
    assert found.p_different == pytest.approx(
        binomtest(found.gains, found.gains + found.losses).pvalue
    )
    assert found.choice_kl is not None
    assert found.choice_kl.mean > 0.1
    assert document.fairness.tokens[0].identical == 40
    assert document.models[0].identity is not None
    assert document.models[0].identity.parameters is None
    assert same(resumed(place), document)


def test_a_picture_is_known_by_its_content(pictures: Place) -> None:
    place = pictures
    (place.folder / "base.txt").write_text("125")
    (place.folder / "other.txt").write_text("126")
    models = [f"{label}=shades[path={label}.txt]" for label in ("base", "other")]
    place.documented("compare", *models, "-b", "shades")
    picture = place.folder / "data" / "00-dark.raw"
    picture.write_bytes(bytes([255] * 64))
    document, _ = place.documented("compare", *models, "-b", "shades")
    assert [a.cached_responses for a in document.benchmarks[0].answer_sets] == [39, 39]
    assert answers(document, "base").answers[0].scores == {"acc": 0.0}


def test_who_cannot_answer_is_refused_before_anything_runs(pictures: Place) -> None:
    place = pictures
    (place.folder / "base.txt").write_text("125")
    result = place.run("compare", place.model("a"), place.model("b"), "-b", "shades")
    assert result.returncode == 2
    assert "a cannot run shades: its runtime" in result.stderr
    assert place.calls("a") == []
    result = place.run("run", "shades[path=base.txt]", "-b", "dialogue")
    assert result.returncode == 2
    assert "does not answer GenerateUntil requests" in result.stderr
    result = place.run("run", place.model("a"), "-b", "five_rolls")
    assert result.returncode == 2
    assert "a cannot run five_rolls: its runtime does not sample" in result.stderr


# -- a server ------------------------------------------------------------------------------


class Server:
    """Answers each problem with its own number; the model `bad` is wrong on those below 20.

    Attributes:
        asked: What it was asked, by the model's name.
    """

    def __init__(self) -> None:
        asked = self.asked = Counter[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked[call["model"]] += 1
                number = int(call["prompt"].rpartition("Q")[2].partition("?")[0])
                number += call["model"] == "bad" and number < 20
                body = json.dumps({"text": f"#### {number}"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_a_server_without_tokens(place: Place, server: Server) -> None:
    place.write_gsm8k([f"Q{i}?" for i in range(60)])
    models = [f"{name}=remote[model={name},base_url={server.url}]" for name in ("good", "bad")]
    options = ("-b", "gsm8k", "--shots", "0", "--margin", "5")
    document, result = place.documented("compare", *models, *options)
    assert server.asked == {"good": 60, "bad": 60}
    assert "bad is worse" in result.stdout
    check = document.fairness.tokens[0]
    assert (check.identical, check.unknown, check.total) == (0, 60, 60)
    assert "tokenization identical on 0/60 requests, unknown on 60" in result.stdout
    model = document.models[1]
    assert (model.spec, model.key and model.key.weights) == ("bad", None)
    assert document.settings.context_length is None
    assert same(resumed(place), document)
    assert server.asked == {"good": 60, "bad": 60}
    # Beside a model whose tokens are known, nothing is claimed either.
    local = place.model("local")
    mixed, _ = place.documented("compare", local, models[0], *options)
    assert mixed.fairness.tokens[0].unknown == 60
    assert answers(mixed, "good").cached_responses == 60


# -- two rounds ----------------------------------------------------------------------------


def test_a_benchmark_of_two_rounds(place: Place) -> None:
    models = place.model("base"), place.model("q4", "wrong 20")
    document, result = place.documented("compare", *models, "-b", "dialogue", "--margin", "20")
    # Half of the numbers below 20 are asked first; there the second question is another one.
    prompts = [len(answer.later_prompts) for answer in answers(document, "q4").answers]
    assert prompts == [1] * 40
    (later,) = document.fairness.later_rounds
    assert (later.label, later.identical, later.total) == ("q4", 30, 40)
    assert "q4: 30 of 40 prompts of later rounds" in result.stdout
    assert compared(document, "q4", "acc").losses == 10
    assert [len(a.parts) for a in answers(document, "base").answers] == [2] * 40
    assert same(resumed(place), document)


def test_a_run_that_ends_in_the_second_round_is_resumed_there(place: Place) -> None:
    """Killed at a question that only the second round asks: Q41? follows from Q40?."""
    models = place.model("base", fault="killed", on="Q41?"), place.model("q4", "wrong 20")
    failed, _ = place.documented("compare", *models, "-b", "dialogue", code=4)
    assert failed.model("base").error
    first = place.computed("base")
    assert max(first.values()) <= 2  # the one it died of was tried once more
    document, _ = place.documented("compare", "--resume", 1, FAULTY_WELL="1")
    for answer_set in document.benchmarks[0].answer_sets:
        assert all(answer.error is None for answer in answer_set.answers)
    first_round = [text for text in place.computed("base") if text.count("?") == 1]
    assert len(first_round) == 40
    assert {place.computed("base")[text] for text in first_round} == {1}
    assert ", 0 of them twice" in place.run("show", 2).stdout


# -- means and ratios ----------------------------------------------------------------------


def test_a_mean_metric(place: Place) -> None:
    models = place.model("base"), place.model("q4", "wrong 45"), place.model("same")
    options = ("-b", "partial_credit", "--margin", "5", "--margin", "0.75steps")
    document, result = place.documented("compare", *models, *options)
    for metric, sign in (("digits", 1), ("distance", 1)):
        base, q4 = (values(document, label, metric) for label in ("base", "q4"))
        found = compared(document, "q4", metric)
        mean, lower, upper, p = clustered(q4 - base, clusters(document), None)
        assert found.difference == pytest.approx(sign * mean)
        assert (found.lower, found.upper) == pytest.approx((lower, upper))
        assert found.p_different == pytest.approx(p)
        assert (found.flip_rate, found.changed_wrong) == (None, None)
    digits = compared(document, "q4", "digits")
    assert (digits.losses, digits.gains, digits.verdict) == (45, 0, "worse")
    steps = compared(document, "q4", "distance")
    assert (steps.losses, steps.gains, steps.verdict) == (45, 0, "no worse")
    assert steps.margin is not None
    assert steps.margin.unit == "steps"
    (score,) = (s for s in document.scores if (s.label, s.metric) == ("q4", "digits"))
    assert score.value == pytest.approx(values(document, "q4", "digits").mean())
    assert 0.5 < score.value < 1, "partial credit is not rounded"
    assert "q4 is worse: better on 0 and worse on 45 of 90 questions (paired t p" in result.stdout
    assert compared(document, "same", "digits").difference == 0
    assert same(resumed(place), document)


def test_means_without_clusters_are_scipys(place: Place) -> None:
    """Each number is its own cluster in a subset that takes one of each passage."""
    models = place.model("base"), place.model("q4", "wrong 45")
    document, _ = place.documented("compare", *models, "-b", "partial_credit")
    from pajamas_eval.analysis.summary import summarize

    for question in document.benchmarks[0].questions:
        question.cluster = ""
    summarize(document)
    base, q4 = (values(document, label, "distance") for label in ("base", "q4"))
    test = ttest_rel(q4, base)
    found = compared(document, "q4", "distance")
    interval = test.confidence_interval(0.9)
    assert found.p_different == pytest.approx(test.pvalue)
    assert (found.lower, found.upper) == pytest.approx((interval.low, interval.high))


def test_a_benchmarks_own_margin_holds_in_every_command_unless_one_is_named(place: Place) -> None:
    """Where it is run, resumed, merged, shown and planned."""
    models = place.model("base"), place.model("q4", "wrong 45")
    options = ("-b", "partial_credit")
    document, result = place.documented("compare", *models, *options)
    for metric, margin, verdict in (("digits", "5 points", "worse"),
                                    ("distance", "0.75 steps", "no worse")):  # fmt: skip
        found = compared(document, "q4", metric)
        assert found.margin is not None
        assert (margin_text(found.margin), found.verdict) == (margin, verdict)
        assert found.margin_is_default
    said = "Verdict at a margin of 5 points (default of partial_credit) and 95 % confidence"
    assert said in result.stdout
    assert same(resumed(place), document)
    assert said in place.run("show", 1).stdout
    place.run("run", place.model("q2", "wrong 1"), *options)
    merged, result = place.documented("compare", "run:1", "run:3")
    assert compared(merged, "q2", "digits").verdict == "no worse"
    assert said in result.stdout
    assert (
        "margin 5 points (default of partial_credit), power"
        in place.run("plan", *models, *options).stdout
    )
    named, result = place.documented("compare", "run:1", "run:3", "--margin", "60")
    found = compared(named, "q4", "digits")
    assert (found.verdict, found.margin_is_default) == ("no worse", False)
    assert compared(named, "q4", "distance").margin_is_default, "that is in steps"
    assert "Verdict at a margin of 60 points and 95 % confidence" in result.stdout


def test_a_metric_in_a_unit_of_its_own_needs_a_margin_to_lead(place: Place) -> None:
    gate = place.folder / "g.toml"
    gate.write_text("[gate.benchmarks.partial_credit]\nmetric = 'distance'\nmargin = 0.75\n")
    models = place.model("base"), place.model("q4", "wrong 45"), place.model("q2", "wrong 85")
    result = place.run("gate", "--gate", "g.toml", *models)
    assert result.returncode == 1, result.stderr
    assert "≤ +0.75 steps" in result.stdout
    assert "q4: passed (1 passed)" in result.stdout
    assert "q2: failed (1 failed)" in result.stdout


@pytest.mark.engine
def test_a_ratio_metric(place: Place, variants: Path, original: Path) -> None:
    """Perplexity of real models in two engines."""
    models = [
        f"original={original}",
        f"q8={variants / 'demo-q8_0.gguf'}",
        f"q2={variants / 'demo-q2_k.gguf'}",
    ]
    document, result = place.documented("compare", *models, "-b", "sentences", "--margin", "5%")
    words = np.array([a.weights["word_perplexity"] for a in answers(document, "q2").answers])
    for label in ("q8", "q2"):
        base, ours = (values(document, m, "word_perplexity") for m in ("original", label))
        found = compared(document, label, "word_perplexity")
        mean, lower, upper, p = clustered(np.log(ours) - np.log(base), clusters(document), words)
        assert found.difference == pytest.approx(math.expm1(mean))
        assert (found.lower, found.upper) == pytest.approx((math.expm1(lower), math.expm1(upper)))
        assert found.p_different == pytest.approx(p)
        (score,) = (s for s in document.scores if (s.label, s.metric) == (label, "word_perplexity"))
        assert score.value == pytest.approx(gmean(ours, weights=words))
        parts = [a.parts[0].log_probabilities[0] for a in answers(document, label).answers]
        assert score.value == pytest.approx(math.exp(-sum(parts) / words.sum()))
    assert compared(document, "q8", "word_perplexity").verdict == "no worse"
    assert compared(document, "q2", "word_perplexity").difference > 0
    assert "difference (%)" in result.stdout
    assert "(margin 5 %)" in result.stdout
    assert same(resumed(place), document)


# -- samples -------------------------------------------------------------------------------


def test_a_benchmark_of_five_samples(place: Place) -> None:
    for label, six in (("fair", "0.55"), ("loaded", "0.30")):
        (place.folder / f"{label}.bin").write_text(six)
    models = [f"{label}=dice[path={label}.bin]" for label in ("fair", "loaded")]
    document, result = place.documented("compare", *models, "-b", "five_rolls", "--margin", "5")
    for label in ("fair", "loaded"):
        texts = [answer.texts for answer in answers(document, label).answers]
        assert {len(of_one) for of_one in texts} == {5}
        assert len({tuple(of_one) for of_one in texts}) > 20, "samples differ"
        sixes = np.array([of_one.count("6") for of_one in texts])
        assert values(document, label, "pass_at_1") == pytest.approx(sixes / 5)
        assert values(document, label, "pass_at_5") == pytest.approx((sixes > 0).astype(float))
        calls = Counter((place.folder / f"{label}.bin.calls").read_text().splitlines())
        assert len(calls) == 500, "no two samples are taken for one"
        assert set(calls.values()) == {1}
    found = compared(document, "loaded", "pass_at_1")
    test = ttest_rel(values(document, "loaded", "pass_at_1"), values(document, "fair", "pass_at_1"))
    interval = test.confidence_interval(0.9)
    assert found.p_different == pytest.approx(test.pvalue)
    assert (found.lower, found.upper) == pytest.approx((interval.low, interval.high))
    assert "loaded is worse" in result.stdout
    assert same(resumed(place), document)
    assert len((place.folder / "fair.bin.calls").read_text().splitlines()) == 500


def test_a_value_that_its_metric_cannot_have_is_refused(place: Place) -> None:
    """A partial credit under a binary name is not rounded; what was computed stays."""
    module = place.folder / "odd"
    info = module / "odd-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pajamas_eval.benchmarks]\nodd = odd:Odd\n")
    (module / "odd.py").write_text(
        "from pajamas_eval.api.metrics import Metric\n"
        "from partial_credit import PartialCredit\n"
        "class Odd(PartialCredit):\n"
        "    family = 'odd'\n"
        "    metrics = Metric('digits'), Metric('distance', 'mean', unit='steps')\n"
    )
    path = os.pathsep.join([str(module), place.environment["PYTHONPATH"]])
    model = place.model("q4", "wrong 45")
    result = place.run("run", model, "-b", "odd", "--json", "out.json", PYTHONPATH=path)
    assert result.returncode == 2
    assert "odd 0: digits = 0.5 is neither 0 nor 1, as a binary metric is" in result.stderr
    assert not (place.folder / "out.json").exists()
    document, _ = place.documented("compare", model, place.model("b"), "-b", "partial_credit")
    assert answers(document, "q4").cached_responses == 90
    assert read(place.folder / "out.json") == document
