"""What becomes of models, questions and answers, with every model a stub in this process."""

import json
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from handmade import identity
from numpy.typing import NDArray

from pajamas_eval.analysis.comparisons import headlines
from pajamas_eval.analysis.paired_binary import verdict_until_decided as until_decided
from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.data import DataSource
from pajamas_eval.api.identity import Settings
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.api.requests import AnyResult as Result
from pajamas_eval.api.requests import (
    GenerateUntil,
    GenerationResult,
    LogLikelihood,
    LogLikelihoodResult,
    LogLikelihoodRolling,
    Request,
)
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import Capabilities, Usage
from pajamas_eval.benchmarks.gsm8k import Gsm8k
from pajamas_eval.benchmarks.mmlu import Mmlu
from pajamas_eval.errors import RunError, UsageError
from pajamas_eval.evaluation import evaluate as evaluate_module
from pajamas_eval.evaluation.answer_collector import NOT_REACHED, AnswerCollector
from pajamas_eval.evaluation.evaluate import evaluate
from pajamas_eval.models.spec import ModelSpec
from pajamas_eval.questions.prepare import prepare
from pajamas_eval.report.wording.comparison import describe_difference
from pajamas_eval.results.document import AnswerRecord, Document
from pajamas_eval.results.file import encode, read, write
from pajamas_eval.results.run_config import RunConfig
from pajamas_eval.statistics.verdicts import Verdict
from pajamas_eval.workers.messages import Finished, Loaded, Opened, Readings

BOS = 1
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"


class Stub:
    """Stands in for a worker; how it behaves is in the model's options.

    It knows that the answer to `17?` is choice 17 % 4.

    Options:
        wrong: Numbers of the questions it answers wrongly.
        fails_after: Results it gives in all before its process dies.
        open_error, load_error: Whether `open` or `load` raises one.
        failures: Numbers of the questions whose first request fails.
        impossible: What it says of the first choice of a question, by the question's number.
        prefix, offset: The tokens in front of a text, and what is added to each of its tokens.
    """

    opened: list["Stub"]

    def __init__(self, spec: ModelSpec, log: Path | None, timeout: float) -> None:
        del log, timeout
        self.spec, self.label, self.options = spec, spec.label, dict(spec.options)
        self.asked: list[Request] = []
        self.beside: list[str] = []
        self.given = self.closed = 0
        self.context_length: int | None = None
        self.opened.append(self)

    def open(self) -> Opened:
        if self.options.get("open_error"):
            raise UsageError(f"{self.label}: no such model")
        kinds = self.options.get("kinds", {LogLikelihood, LogLikelihoodRolling, GenerateUntil})
        settings = Settings(
            context_length=self.options.get("context_length", 64),  # type: ignore[arg-type]
            prefix_tokens=self.prefix,
            end_tokens=self.options.get("ends", ("</s>",)),  # type: ignore[arg-type]
            chat_template=self.options.get("template"),  # type: ignore[arg-type]
        )
        capabilities = Capabilities(frozenset(kinds))  # type: ignore[call-overload]
        key = AnswerKey(
            weights="d" * 64,
            runtime="stub",
            versions={"stub": "1"},
            device="CPU",
            options={"exact": self.options.get("exact") == "1"},  # as its process reads it
        )
        return Opened(settings, capabilities, key)

    @property
    def prefix(self) -> tuple[int, ...]:
        return self.options.get("prefix", ())  # type: ignore[return-value]

    def tokenize(self, requests: Sequence[Request]) -> list[list[int]]:
        return [self._tokens(request).tolist() for request in requests]

    def _tokens(self, r: Request) -> NDArray[np.int32]:
        text = "".join(r.texts())
        offset = self.options.get("odd_tokens", "\0") in text  # type: ignore[operator]
        codes = np.frombuffer(text.encode("utf-32-le"), np.int32) + offset
        return np.concatenate([np.array(self.prefix, np.int32), codes])

    def start_reading(self, requests: Sequence[Request], context_length: int) -> None:
        del context_length
        self.reads = requests

    def readings(self) -> Readings:
        return Readings([self._tokens(request).tobytes() for request in self.reads])

    def load(self, context_length: int) -> Loaded:
        self.beside = [s.label for s in self.opened if s.context_length and not s.closed]
        self.context_length = context_length
        if self.options.get("load_error"):
            raise UsageError(f"{self.label}: the weights are broken")
        return Loaded(identity(path=str(self.options["path"])), 0.25)

    def answer(
        self, requests: Sequence[Request]
    ) -> Iterator[Sequence[tuple[int, Result]] | Finished]:
        self.asked += requests
        order = list(range(len(requests)))
        random.Random(5).shuffle(order)
        for i in order:
            if self.given == self.options.get("fails_after"):
                raise RunError(f"{self.label}: the worker process died")
            self.given += 1
            yield [(i, self._result(requests[i]))]
        yield Finished(
            Usage(
                evaluated_tokens=10 * len(requests),
                prompt_seconds=2.0,
                batch_digest=f"{len(requests)} at once",
                notes=["a note"],
            ),
            1000,
        )

    def _result(self, request: Request) -> Result:
        if isinstance(request, GenerateUntil):
            return GenerationResult("#### 7", "stop", 4, 30, 2, 0.5)
        assert isinstance(request, LogLikelihood)
        number = int(re.findall(r"(\d+)\?", request.context.text)[-1])
        choice = "ABCD".index(request.continuation.strip())
        if choice == 0 and number in self.options.get("failures", ()):  # type: ignore[operator]
            return Failure("the logits are no numbers")
        wanted = (number + (number in self.options.get("wrong", ()))) % 4  # type: ignore[operator]
        value = -float(choice != wanted)
        if choice == 0:
            value = self.options.get("impossible", {}).get(number, value)  # type: ignore[attr-defined]
        return LogLikelihoodResult(value, choice == wanted, 1, 2, 30, 1, 0.5)

    def close(self) -> None:
        self.closed += 1


class Silent:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.counts: list[list[object]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def start(self, label: str, benchmark: str, total: int) -> None:
        self.counts.append([label, benchmark, total, 0, "open"])

    def advance(self, questions: int) -> None:
        self.counts[-1][3] += questions  # type: ignore[operator]

    def finish(self) -> None:
        self.counts[-1][4] = "done"


@pytest.fixture(autouse=True)
def stubs(monkeypatch: pytest.MonkeyPatch) -> list[Stub]:
    """Every stub made during a test, in order."""
    made: list[Stub] = []
    monkeypatch.setattr(Stub, "opened", made, raising=False)
    monkeypatch.setattr(evaluate_module, "LocalWorker", Stub)
    return made


@pytest.fixture
def data(tmp_path: Path) -> DataSource:
    """Six questions of MMLU, the n-th with the answer n % 4, and two of GSM8K."""
    gsm8k: list[dict[str, object]] = [{"question": f"{i}?", "answer": f"#### {i}"} for i in (7, 8)]
    return source(tmp_path, mmlu=numbered("anatomy", range(6)), gsm8k=gsm8k)


@pytest.fixture
def many(tmp_path: Path) -> DataSource:
    """MMLU's questions 0 to 239 of anatomy, 1000 to 1239 of virology."""
    rows = [*numbered("anatomy", range(240)), *numbered("virology", range(1000, 1240))]
    return source(tmp_path, mmlu=rows)


def numbered(subject: str, numbers: Iterable[int]) -> list[dict[str, object]]:
    return [
        {"question": f"{i}?", "subject": subject, "choices": list("wxyz"), "answer": i % 4}
        for i in numbers
    ]


def source(folder: Path, **sets: list[dict[str, object]]) -> DataSource:
    for name, rows in sets.items():
        (folder / name).mkdir()
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / name / "test.jsonl").write_text("".join(lines))
    return DataSource(folder)


def model(label: str, **options: object) -> ModelSpec:
    return ModelSpec(label, "stub", {"path": f"{label}.gguf", **options})


BENCHMARKS = [Mmlu("mmlu_anatomy"), Gsm8k("gsm8k")]


def ask(data: DataSource, *models: ModelSpec, **options: object) -> Document:
    benchmarks = options.pop("benchmarks", BENCHMARKS)
    if "margin" in options:
        options["margins"] = (Margin(100 * options.pop("margin")),)  # type: ignore[operator]
    return evaluate(
        models,
        benchmarks,  # type: ignore[arg-type]
        data,
        options.pop("progress", Silent()),  # type: ignore[arg-type]
        RunConfig(shots=0, **{k: v for k, v in options.items() if k != "choosing"}),  # type: ignore[arg-type]
        choosing=bool(options.get("choosing")),
    )


def answers(document: Document, label: str, benchmark: int = 0) -> list[AnswerRecord]:
    (found,) = (s for s in document.benchmarks[benchmark].answer_sets if s.label == label)
    return found.answers


def refused(data: DataSource, *models: ModelSpec, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        ask(data, *models, **options)
    return str(caught.value)


# -- a run ---------------------------------------------------------------------------------


def test_every_model_is_asked_the_same_and_judged(data: DataSource, stubs: list[Stub]) -> None:
    document = ask(data, model("base"), model("q4", wrong={3, 4}))
    assert stubs[0].asked == stubs[1].asked
    assert len(stubs[0].asked) == 6 * 4 + 2
    assert [a.scores["acc"] for a in answers(document, "base")] == [1.0] * 6
    assert [a.scores["acc"] for a in answers(document, "q4")] == [1, 1, 1, 0, 0, 1]
    assert [a.doc_id for a in answers(document, "q4")] == [
        q.doc_id for q in document.benchmarks[0].questions
    ]
    (comparison,) = (c for c in document.comparisons if c.metric == "acc")
    assert (comparison.label, comparison.gains, comparison.losses) == ("q4", 0, 2)


def test_answers_hold_what_later_questions_need(data: DataSource) -> None:
    document = ask(data, model("base"))
    choice, text = answers(document, "base")[1], answers(document, "base", 1)[0]
    assert choice == AnswerRecord(
        doc_id="anatomy/1",
        scores={"acc": 1.0, "soft_acc": pytest.approx(1 / (1 + 3 / math.e))},
        prediction="1",
        parts=[
            LogLikelihoodResult(value, value == 0.0, 1, 2, 30, 1, 0.5)
            for value in (-1.0, 0.0, -1.0, -1.0)
        ],
    )
    assert text == AnswerRecord(
        doc_id="0",
        scores={"exact_match_strict": 1.0, "exact_match_flexible": 1.0},
        prediction="7",
        parts=[GenerationResult("#### 7", "stop", 4, 30, 2, 0.5)],
    )


def test_what_a_model_cost_is_kept(data: DataSource) -> None:
    document = ask(data, model("base"))
    record = document.models[0]
    assert (record.load_seconds, record.peak_memory_bytes, record.error) == (0.25, 1000, None)
    assert record.identity == identity(path="base.gguf")
    mmlu = document.benchmarks[0].answer_sets[0]
    assert (mmlu.evaluated_tokens, mmlu.prompt_seconds, mmlu.notes) == (240, 2.0, ["a note"])


def test_a_document_says_how_it_was_made(data: DataSource) -> None:
    document = ask(data, model("base"), model("q4"), limit=3, seed=7, confidence=0.9)
    settings = document.settings
    assert (settings.limit, settings.seed, settings.confidence, settings.shots) == (3, 7, 0.9, 0)
    assert settings.template_digest is None
    assert document.baseline == "base"
    assert [(b.name, len(b.questions), b.available) for b in document.benchmarks] == [
        ("mmlu_anatomy", 3, 6),
        ("gsm8k", 2, 2),
    ]
    assert document.machine.cores >= 1
    assert document.machine.memory_bytes > 1_000_000
    assert encode(document)


def test_progress_follows_every_question(data: DataSource) -> None:
    progress = Silent()
    ask(data, model("base"), model("q4", failures={2}), progress=progress)
    assert progress.counts == [
        ["base", "mmlu_anatomy", 6, 6, "done"],
        ["base", "gsm8k", 2, 2, "done"],
        ["q4", "mmlu_anatomy", 6, 6, "done"],
        ["q4", "gsm8k", 2, 2, "done"],
    ]


def test_models_are_closed_whatever_happens(data: DataSource, stubs: list[Stub]) -> None:
    ask(data, model("base"), model("q4", fails_after=1))
    refused(data, model("a"), model("b", open_error=True))
    assert len(stubs) == 4
    assert all(stub.closed for stub in stubs)


# -- gathering -----------------------------------------------------------------------------


def likely(log_probability: float) -> LogLikelihoodResult:
    return LogLikelihoodResult(log_probability, False, 1, 1, 5)


def gather(data: DataSource) -> AnswerCollector:
    """Answers to six questions; the i-th request has the fingerprint `key(i)`."""
    gathering = AnswerCollector(
        prepare(Mmlu("mmlu_anatomy"), data), Readings([key(i) for i in range(24)])
    )
    assert list(gathering.extend(range(6))) == [key(i) for i in range(24)]
    return gathering


def key(i: int) -> bytes:
    return bytes([i])


@pytest.mark.parametrize("seed", range(5))
def test_results_may_come_in_any_order(data: DataSource, seed: int) -> None:
    gathering = gather(data)
    order = list(range(24))
    random.Random(seed).shuffle(order)
    completed = [gathering.take([(key(i), likely(-float(i)))]) for i in order]
    assert sum(completed) == 6
    assert completed[-1] == 1
    found = gathering.answer_set("q4").answers
    assert [a.log_probabilities for a in found] == [
        [-float(4 * i + j) for j in range(4)] for i in range(6)
    ]


def test_a_question_with_a_failed_request_is_an_error_and_has_no_score(data: DataSource) -> None:
    gathering = gather(data)
    for i in range(24):
        gathering.take([(key(i), Failure(f"failure {i}") if i in (5, 6) else likely(0.0))])
    found = gathering.answer_set("q4").answers
    assert [a.error for a in found] == [None, "failure 5", None, None, None, None]
    assert (found[1].scores, found[1].prediction) == ({}, None)


def test_a_question_that_was_not_reached_is_an_error(data: DataSource) -> None:
    gathering = gather(data)
    for i in range(6):
        gathering.take([(key(i), likely(0.0))])
    found = gathering.answer_set("q4").answers
    assert found[0].error is None
    assert {a.error for a in found[1:]} == {"the model did not get to this question"}


# -- failing models ------------------------------------------------------------------------


def test_a_model_that_dies_keeps_its_answers_and_the_others_go_on(data: DataSource) -> None:
    progress = Silent()
    document = ask(data, model("base"), model("q4", fails_after=20), model("q2"), progress=progress)
    assert [m.error for m in document.models] == [None, "q4: the worker process died", None]
    kept = [a for a in answers(document, "q4") if a.error is None]
    assert 0 < len(kept) < 6
    assert all(a.scores["acc"] == 1.0 for a in kept)
    assert len([a for a in answers(document, "q2") if a.error is None]) == 6
    compared = {c.label: c.count for c in document.comparisons if c.metric == "acc"}
    assert compared == {"q4": len(kept), "q2": 6}
    assert "failed: q4: the worker process died" in progress.steps
    assert all(count[4] == "done" for count in progress.counts)


def test_a_model_that_cannot_be_loaded_is_marked_and_the_others_go_on(data: DataSource) -> None:
    document = ask(data, model("base", load_error=True), model("q4"))
    assert [m.error for m in document.models] == ["base: the weights are broken", None]
    assert document.models[0].identity is None
    failed, _ = document.benchmarks[0].answer_sets
    assert {a.error for a in failed.answers} == {"the model did not get to this question"}
    assert {(c.label, c.count) for c in document.comparisons} == {("q4", 0)}
    assert {s.label for s in document.scores if s.count} == {"q4"}


def test_a_model_that_cannot_be_opened_ends_the_run_before_it_starts(
    data: DataSource, stubs: list[Stub]
) -> None:
    assert refused(data, model("base"), model("q4", open_error=True)) == "q4: no such model"
    assert all(stub.context_length is None for stub in stubs), "a model was loaded for nothing"


def test_bad_data_is_found_before_any_model_is_started(tmp_path: Path, stubs: list[Stub]) -> None:
    assert "found neither" in refused(DataSource(tmp_path), model("base"))
    assert not stubs


@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
def test_a_log_probability_that_is_not_finite_is_an_error_and_the_document_holds_none(
    data: DataSource, tmp_path: Path, value: float
) -> None:
    """JSON knows no infinity: the file would not be read again."""
    document = ask(data, model("base"), model("q4", impossible={3: value}))
    errors = {a.doc_id: a.error for a in answers(document, "q4") if a.error}
    assert errors == {"anatomy/3": f"the runtime gave a log-probability of {value}"}
    (comparison,) = (c for c in document.comparisons if c.metric == "acc")
    assert (comparison.count, comparison.unanswered) == (5, 1)
    assert comparison.choice_kl is not None
    assert comparison.choice_kl.count == 5
    write(document, tmp_path / "x.json")
    assert read(tmp_path / "x.json") == document


# -- fairness ------------------------------------------------------------------------------


def test_equal_tokenizations_are_shown_to_be_equal(data: DataSource) -> None:
    document = ask(data, model("base"), model("q4"), model("q2"))
    checks = document.fairness.tokens
    assert [(c.label, c.identical, c.total) for c in checks] == [("q4", 26, 26), ("q2", 26, 26)]
    assert all(c.first_difference is None for c in checks)
    assert document.fairness.notes == []


def test_different_tokenizations_are_counted_and_the_first_is_shown(data: DataSource) -> None:
    document = ask(data, model("base"), model("q4", odd_tokens="4?"))
    (check,) = document.fairness.tokens
    assert (check.identical, check.total) == (22, 26)
    first = check.first_difference
    assert first is not None
    assert (first.benchmark, first.doc_id) == ("mmlu_anatomy", "anatomy/4")
    assert first.text.endswith("4?\nA. w\nB. x\nC. y\nD. z\nAnswer: A")
    assert first.variant_tokens == [t + 1 for t in first.baseline_tokens]
    assert describe_difference(check) == (
        "first in mmlu_anatomy anatomy/4, from token 0: [84, 104, 101, 32, 102] against "
        "[85, 105, 102, 33, 103], in a text that ends "
        "'atomy.\\n\\n4?\\nA. w\\nB. x\\nC. y\\nD. z\\nAnswer: A'"
    )


def test_a_difference_in_a_later_benchmark_is_placed_there(data: DataSource) -> None:
    document = ask(data, model("base"), model("q4", odd_tokens="8?"))
    first = document.fairness.tokens[0].first_difference
    assert first is not None
    assert (first.benchmark, first.doc_id) == ("gsm8k", "1")


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (
            (),
            (BOS,),
            "not comparable: base starts every text with no BOS token, q4 with [1]; set it for "
            "one of them, for example q4=runtime[path=…,add_bos=false]",
        ),
        (
            (BOS,),
            (),
            "not comparable: base starts every text with [1], q4 with no BOS token; set it for "
            "one of them, for example q4=runtime[path=…,add_bos=true]",
        ),
    ],
)
def test_bos_on_one_side_only_is_refused(
    data: DataSource, stubs: list[Stub], ours: tuple[int], theirs: tuple[int], reason: str
) -> None:
    assert refused(data, model("base", prefix=ours), model("q4", prefix=theirs)) == reason
    assert all(stub.context_length is None for stub in stubs), "a model was loaded for nothing"


def test_bos_on_one_side_of_different_tokenizers_is_counted_only(data: DataSource) -> None:
    document = ask(data, model("base"), model("q4", prefix=(BOS,), odd_tokens="?"))
    assert document.fairness.tokens[0].identical == 0


def test_impossible_requests_are_refused_before_anything_is_loaded(
    data: DataSource, stubs: list[Stub]
) -> None:
    assert refused(data, model("base"), model("q4", kinds={LogLikelihood})) == (
        "q4 cannot run gsm8k: its runtime does not answer GenerateUntil requests"
    )
    assert all(stub.context_length is None for stub in stubs)
    assert ask(data, model("q4", kinds={LogLikelihood}), benchmarks=BENCHMARKS[:1])


def test_all_models_use_the_least_context_length(data: DataSource, stubs: list[Stub]) -> None:
    document = ask(data, model("a"), model("b", context_length=32), model("c", context_length=48))
    assert document.settings.context_length == 32
    assert [stub.context_length for stub in stubs] == [32, 32, 32]
    assert document.fairness.notes == [
        "context lengths differ; all models use 32 tokens, the limit of b"
    ]


def test_end_tokens_that_one_model_has_alone_are_named(data: DataSource, stubs: list[Stub]) -> None:
    models = [
        model("a", ends=("</s>", "<|end|>")),
        model("b", ends=("<|end|>", "</s>")),
        model("c", ends=("</s>", *"123456")),
    ]
    assert ask(data, *models).fairness.notes == [
        "c ends its texts at '1', '2', '3', '4', '5'…, where a goes on",
        "a ends its texts at '<|end|>', where c goes on",
    ]
    choices = ask(data, *models, benchmarks=[Mmlu("mmlu_anatomy")])
    assert choices.fairness.notes == []


def test_the_digest_of_the_prompts_tells_runs_apart(data: DataSource) -> None:
    whole, again = (ask(data, model("a")).fairness.prompt_digest for _ in range(2))
    part = ask(data, model("a"), limit=3).fairness.prompt_digest
    assert whole == again != part


# -- chat templates ------------------------------------------------------------------------


def test_all_models_are_asked_through_the_baselines_template(
    data: DataSource, stubs: list[Stub]
) -> None:
    document = ask(data, model("base", template=TEMPLATE), model("q4"), apply_chat_template=True)
    asked = stubs[1].asked[-1]
    assert isinstance(asked, GenerateUntil)
    assert asked.prompt.text == "<user>Question: 8?\nAnswer:<assistant>"
    assert stubs[0].asked == stubs[1].asked
    assert document.settings.template_digest


def test_a_baseline_without_a_template_is_refused(data: DataSource) -> None:
    assert refused(
        data, model("base"), model("q4", template=TEMPLATE), apply_chat_template=True
    ) == ("base, the baseline, has no chat template to apply")


def test_a_default_margin_that_no_metric_can_have_is_refused_before_anything_runs(
    data: DataSource,
) -> None:
    class Careless(Mmlu):
        metrics = (Metric("acc", default_margin=-1.0),)

    said = refused(data, model("base"), model("q4"), benchmarks=[Careless("mmlu_anatomy")])
    assert said == "acc: a margin of -1 points is not above 0 and below 100"


# -- until decided -------------------------------------------------------------------------

ANATOMY, VIROLOGY = Mmlu("mmlu_anatomy"), Mmlu("mmlu_virology")
ALL = range(2000)
SAME, BROKEN = model("same"), model("broken", wrong=ALL)
UNSURE = model("unsure", wrong=range(0, 240, 20))
"""At a margin of five points one look decides on the broken one, two on the equal one, and all
questions not on the one that loses just as much."""


def early(data: DataSource, *models: ModelSpec, **options: object) -> Document:
    known: dict[str, object] = {
        "benchmarks": [ANATOMY],
        "until_decided": True,
        "margin": 0.05,
    }
    return ask(data, *models, **(known | options))


def counts(document: Document, benchmark: int = 0) -> dict[str, int]:
    """How many questions each model was asked, in the order of the tables."""
    sets = document.benchmarks[benchmark].answer_sets
    return {found.label: len(found.answers) for found in sets}


def verdicts(document: Document) -> dict[tuple[str, str], str]:
    """By the headline metric."""
    found = headlines(document, document.comparisons)
    return {(c.benchmark, c.label): str(c.verdict) for c in found}


def test_questions_are_asked_until_a_verdict_is_in(many: DataSource) -> None:
    document = early(many, model("base"), SAME, BROKEN)
    assert counts(document) == {"base": 100, "same": 100, "broken": 50}
    assert verdicts(document) == {
        ("mmlu_anatomy", "same"): "no worse",
        ("mmlu_anatomy", "broken"): "worse",
    }
    assert [(v.label, v.verdict) for v in document.verdicts] == [
        ("same", Verdict.NO_WORSE),
        ("broken", Verdict.WORSE),
    ]
    assert len(document.benchmarks[0].questions) == 240
    assert document.settings.until_decided
    assert until_decided(np.zeros(50), 240, 0.05, 0.95) is Verdict.UNDECIDED


def test_without_a_verdict_all_questions_are_asked(many: DataSource) -> None:
    document = early(many, model("base"), UNSURE)
    assert counts(document) == {"base": 240, "unsure": 240}
    assert verdicts(document) == {("mmlu_anatomy", "unsure"): "undecided"}


def test_with_a_limit_no_more_than_that_are_asked(many: DataSource) -> None:
    document = early(many, model("base"), SAME, limit=70)
    assert counts(document) == {"base": 70, "same": 70}
    assert verdicts(document) == {("mmlu_anatomy", "same"): "undecided"}
    whole = early(many, model("base"), SAME)
    assert document.benchmarks[0].questions == whole.benchmarks[0].questions[:70]


@pytest.mark.parametrize("order", [(SAME, BROKEN, UNSURE), (UNSURE, BROKEN, SAME)])
def test_a_model_is_asked_nothing_twice_and_the_baseline_no_more_than_a_variant_needs(
    many: DataSource, stubs: list[Stub], order: tuple[ModelSpec, ...]
) -> None:
    document = early(many, model("base"), *order)
    needed = {"same": 100, "broken": 50, "unsure": 240}
    assert list(counts(document).items()) == [
        ("base", 240),
        *[(spec.label, needed[spec.label]) for spec in order],
    ]
    for stub in stubs:
        assert len(stub.asked) == len(set(stub.asked)) == 4 * counts(document)[stub.label]


def test_all_models_are_asked_the_same_questions_in_one_random_order(many: DataSource) -> None:
    document = early(many, model("base"), SAME, BROKEN)
    order = [question.doc_id for question in document.benchmarks[0].questions]
    for found in document.benchmarks[0].answer_sets:
        assert [a.doc_id for a in found.answers] == order[: len(found.answers)]
    assert order != sorted(order, key=lambda doc_id: int(doc_id.removeprefix("anatomy/")))
    again, other = early(many, model("base"), SAME), early(many, model("base"), SAME, seed=7)
    assert [q.doc_id for q in again.benchmarks[0].questions] == order
    assert [q.doc_id for q in other.benchmarks[0].questions] != order


def test_what_is_asked_early_is_answered_as_in_a_full_run(many: DataSource) -> None:
    models = model("base", wrong=range(0, 240, 7)), model("q4", wrong=range(0, 240, 3))
    part, whole = early(many, *models), ask(many, *models, benchmarks=[ANATOMY], margin=0.05)
    for label in ("base", "q4"):
        everything = {a.doc_id: a for a in answers(whole, label)}
        assert 0 < len(answers(part, label)) < len(everything) == 240
        assert all(a == everything[a.doc_id] for a in answers(part, label))
    assert verdicts(part) == verdicts(whole) == {("mmlu_anatomy", "q4"): "worse"}


def test_each_benchmark_stops_by_itself(many: DataSource) -> None:
    halved = model("halved", wrong=range(1000, 1240))
    document = early(many, model("base"), halved, benchmarks=[ANATOMY, VIROLOGY])
    assert [counts(document, i) for i in (0, 1)] == [
        {"base": 100, "halved": 100},
        {"base": 50, "halved": 50},
    ]
    assert verdicts(document) == {
        ("mmlu_anatomy", "halved"): "no worse",
        ("mmlu_virology", "halved"): "worse",
    }


def test_progress_follows_every_look(many: DataSource) -> None:
    progress = Silent()
    early(many, model("base"), SAME, progress=progress)
    assert progress.counts == 2 * [
        ["base", "mmlu_anatomy", 50, 50, "done"],
        ["same", "mmlu_anatomy", 50, 50, "done"],
    ]


def test_the_costs_of_all_looks_are_added(many: DataSource) -> None:
    (base, same, broken) = early(many, model("base"), SAME, BROKEN).benchmarks[0].answer_sets
    assert (same.evaluated_tokens, same.prompt_seconds) == (10 * 4 * 100, 4.0)
    assert (broken.evaluated_tokens, broken.prompt_seconds) == (10 * 4 * 50, 2.0)
    assert same.notes == ["a note"] * 2
    assert broken.batch_digest == "200 at once"
    assert len({base.batch_digest, same.batch_digest}) == 1  # two looks of 50 questions each
    assert same.batch_digest not in ("", broken.batch_digest)


def test_a_question_that_fails_is_asked_no_more_and_ends_nothing(many: DataSource) -> None:
    document = early(many, model("base"), model("q4", failures=range(0, 240, 30)))
    assert counts(document) == {"base": 240, "q4": 240}
    (comparison,) = headlines(document, document.comparisons)
    assert (comparison.unanswered, comparison.verdict) == (8, Verdict.UNDECIDED)


def test_a_variant_that_dies_between_looks_keeps_its_answers_and_the_others_go_on(
    many: DataSource,
) -> None:
    ill = model("ill", fails_after=4 * 80)
    document = early(many, model("base"), ill, SAME, benchmarks=[ANATOMY, VIROLOGY])
    assert [m.error for m in document.models] == [None, "ill: the worker process died", None]
    assert [counts(document, i) for i in (0, 1)] == [
        {"base": 100, "ill": 100, "same": 100},
        {"base": 100, "ill": 50, "same": 100},
    ]
    kept = [a for a in answers(document, "ill") if a.error is None]
    assert 50 < len(kept) < 100
    assert all(a.error is None for a in answers(document, "ill")[:50])
    assert verdicts(document) == {
        ("mmlu_anatomy", "ill"): "undecided",
        ("mmlu_anatomy", "same"): "no worse",
        ("mmlu_virology", "ill"): "undecided",
        ("mmlu_virology", "same"): "no worse",
    }


def test_where_the_baseline_dies_later_variants_are_compared_with_what_it_answered(
    many: DataSource,
) -> None:
    base = model("base", fails_after=4 * 120)
    document = early(many, base, UNSURE, SAME, benchmarks=[ANATOMY, VIROLOGY])
    assert [m.error for m in document.models] == ["base: the worker process died", None, None]
    assert counts(document, 0) == {"base": 150, "unsure": 150, "same": 100}
    assert counts(document, 1) == {"base": 50, "unsure": 50, "same": 50}
    assert verdicts(document) == {
        ("mmlu_anatomy", "unsure"): "undecided",
        ("mmlu_anatomy", "same"): "no worse",
        ("mmlu_virology", "unsure"): "undecided",
        ("mmlu_virology", "same"): "undecided",
    }
    assert all(a.error is None for b in (0, 1) for a in answers(document, "same", b))
    assert {a.error for a in answers(document, "base", 1)} == {NOT_REACHED}


def test_a_baseline_that_cannot_be_loaded_costs_every_variant_one_look(many: DataSource) -> None:
    document = early(many, model("base", load_error=True), SAME, BROKEN)
    assert counts(document) == {"base": 50, "same": 50, "broken": 50}
    assert set(verdicts(document).values()) == {"undecided"}
    assert [c.count for c in headlines(document, document.comparisons)] == [0, 0]


def test_a_variant_that_cannot_be_loaded_keeps_no_other_from_its_verdict(many: DataSource) -> None:
    document = early(many, model("base"), model("ill", load_error=True), SAME)
    assert counts(document) == {"base": 100, "ill": 50, "same": 100}
    assert [(v.label, str(v.verdict)) for v in document.verdicts] == [
        ("ill", "undecided"),
        ("same", "no worse"),
    ]


def test_two_models_at_most_are_in_memory(many: DataSource, stubs: list[Stub]) -> None:
    early(many, model("base"), SAME, model("f16"), BROKEN, noise_floor=True, same_weights=("f16",))
    assert {stub.label: stub.beside for stub in stubs} == {
        "base": [],
        **{label: ["base"] for label in ("same", "broken", "base again", "f16")},
    }
    stubs.clear()
    ask(many, model("base"), SAME, BROKEN, noise_floor=True, benchmarks=[ANATOMY])
    assert all(stub.beside == [] for stub in stubs)


@pytest.mark.parametrize("models", [["base"], ["base", "f16"]])
def test_without_a_variant_to_decide_on_there_is_no_asking_until_decided(
    tmp_path: Path, models: list[str]
) -> None:
    asked = {"until_decided": True, "same_weights": tuple(models[1:])}
    assert refused(DataSource(tmp_path), *map(model, models), **asked) == (
        "no variant is left to decide on: one with the baseline's own weights gets no verdict"
    )


# -- noise floor ---------------------------------------------------------------------------


def test_the_noise_floor_is_the_baseline_in_other_batches(
    data: DataSource, stubs: list[Stub]
) -> None:
    """The variant is wrong on all that the noise floor is wrong on, and more."""
    document = ask(data, model("base", n_ctx="64"), BROKEN, noise_floor=True)
    assert [stub.label for stub in stubs] == ["base", "base again", "broken"]
    base, again, _ = (stub.options for stub in stubs)
    assert again == base | {"batch_tokens": 160, "batch_sequences": 5}
    assert stubs[1].asked == stubs[0].asked
    assert [m.noise_floor for m in document.models] == [False, True, False]
    assert list(counts(document)) == ["base", "base again", "broken"]
    assert [c.label for c in document.fairness.tokens] == ["base again", "broken"]
    assert [v.label for v in document.verdicts] == ["broken"]
    verdict = {c.label: c.verdict for c in document.comparisons if c.metric == "acc"}
    assert verdict["base again"] is None
    assert verdict["broken"] is not None


def test_the_noise_floor_of_a_baseline_in_such_batches_has_others(
    data: DataSource, stubs: list[Stub]
) -> None:
    """The store would find every response of the first run again, and show no noise."""
    base = model("base", batch_tokens="160", batch_sequences=5)
    ask(data, base, noise_floor=True)
    first, again = (stub.options for stub in stubs)
    assert {k: again[k] for k in ("batch_tokens", "batch_sequences")} == {
        "batch_tokens": 96,
        "batch_sequences": 3,
    }
    assert first["batch_tokens"] == "160"


def test_a_noise_floor_of_an_exact_baseline_is_refused(data: DataSource) -> None:
    complaint = "a noise floor needs batches of two shapes, and exact allows one"
    models = [model("base", exact="1"), model("q4")]
    assert refused(data, *models, noise_floor=True) == complaint
    assert ask(data, *models).baseline == "base"


def test_a_noise_floor_has_no_rank_beside_those_that_have(many: DataSource) -> None:
    document = ask(many, model("base"), BROKEN, noise_floor=True, benchmarks=[ANATOMY])
    assert [ranking.tiers for ranking in document.rankings] == [[["base"], ["broken"]]]


def test_asked_until_decided_the_noise_floor_gets_the_baselines_questions(
    many: DataSource,
) -> None:
    document = early(
        many, model("base"), SAME, model("f16", wrong={5}), noise_floor=True, same_weights=("f16",)
    )
    assert counts(document) == {"base": 100, "base again": 100, "same": 100, "f16": 100}
    assert list(counts(document)) == [m.label for m in document.models]
    assert [m.noise_floor for m in document.models] == [False, True, False, True]
    assert [v.label for v in document.verdicts] == ["same"]


def test_a_variant_of_the_same_weights_is_noise(data: DataSource) -> None:
    document = ask(data, model("base"), model("f16"), model("q4"), same_weights=("f16",))
    assert [m.noise_floor for m in document.models] == [False, True, False]
    assert [v.label for v in document.verdicts] == ["q4"]


@pytest.mark.parametrize(
    ("labels", "options", "complaint"),
    [
        (
            ["base", "quarter"],
            {"same_weights": ("quartre",)},
            "no variant has the label 'quartre'; did you mean 'quarter'?",
        ),
        (["base", "q4"], {"same_weights": ("base",)}, "no variant has the label 'base'"),
        (
            ["base", "q4"],
            {"noise_floor": True, "exact": True},
            "a noise floor needs batches of two shapes, and exact allows one",
        ),
        (
            ["base", "base again"],
            {"noise_floor": True},
            "two models would have the label 'base again': the noise floor is called so; give "
            "yours another label",
        ),
    ],
)
def test_a_noise_floor_that_cannot_be_is_refused_before_any_data_is_read(
    tmp_path: Path, labels: list[str], options: dict[str, object], complaint: str
) -> None:
    assert refused(DataSource(tmp_path), *map(model, labels), **options) == complaint


def test_a_single_model_gets_scores_and_no_verdict(data: DataSource) -> None:
    document = ask(data, model("only"))
    assert {s.label for s in document.scores} == {"only"}
    assert (document.comparisons, document.verdicts, document.rankings) == ([], [], [])


# -- benchmarks that can tell ----------------------------------------------------------------

ANSWERS_ANATOMY = model("base", wrong=range(1000, 1240))


def test_only_the_benchmarks_that_can_tell_are_asked(many: DataSource, stubs: list[Stub]) -> None:
    document = ask(
        many, ANSWERS_ANATOMY, model("q4"), benchmarks=[ANATOMY, VIROLOGY], choosing=True
    )
    assert [record.name for record in document.benchmarks] == ["mmlu_anatomy"]
    asked = {stub.label: len(stub.asked) for stub in stubs}
    assert asked == {"base": 4 * (240 + 50), "q4": 4 * 240}
    order = [question.doc_id for question in document.benchmarks[0].questions]
    assert [a.doc_id for a in answers(document, "base")] == order
    assert [a.doc_id for a in answers(document, "q4")] == order
    assert [check.total for check in document.fairness.tokens] == [4 * 240]
    assert document.fairness.notes == [
        "by 50 answers of base to each, these benchmarks can tell: mmlu_anatomy (100 %, chance "
        "25 %); left out: mmlu_virology (0 %, chance 25 %)"
    ]


def test_where_no_benchmark_can_tell_all_are_asked(many: DataSource) -> None:
    guesses = model("base", wrong=[n for n in range(1240) if n % 16 > 3])
    document = ask(many, guesses, SAME, benchmarks=[ANATOMY, VIROLOGY], choosing=True)
    assert [record.name for record in document.benchmarks] == ["mmlu_anatomy", "mmlu_virology"]
    assert set(verdicts(document).values()) == {"cannot tell"}
    (note,) = document.fairness.notes
    assert "no benchmark can tell, so all are asked" in note


def test_what_is_chosen_is_asked_until_decided(many: DataSource) -> None:
    asked = [ANATOMY, VIROLOGY]
    document = early(many, ANSWERS_ANATOMY, BROKEN, benchmarks=asked, choosing=True)
    assert [record.name for record in document.benchmarks] == ["mmlu_anatomy"]
    assert verdicts(document) == {("mmlu_anatomy", "broken"): "worse"}
