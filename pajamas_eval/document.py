"""The result document: everything a run found, in one versioned JSON file."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pajamas_eval.errors import UsageError
from pajamas_eval.output import write_whole
from pajamas_eval.runtime import Identity
from pajamas_eval.statistics.verdicts import Verdict

FORMAT_VERSION = 3

_SURROGATES = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_AnyStruct = TypeVar("_AnyStruct", bound=msgspec.Struct)


class Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of the document."""


class Machine(Record):
    """Where the run took place."""

    system: str
    processor: str
    cores: int
    memory_bytes: int
    python: str


def this_machine() -> Machine:
    """Where this process runs."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
    )


def _processor() -> str:
    if sys.platform == "darwin":  # whose `platform.processor()` is just "arm"
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        return found or platform.processor() or "unknown"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


class RunSettings(Record):
    """What was asked of every model alike.

    Attributes:
        context_length: Tokens per sequence, the least of all models' own.
        chat_template: Digest of the baseline's chat template, if prompts went through it.
        exact: Whether every sequence was run alone.
        confidence: Of every interval and verdict, in (0, 1).
        margin: Loss that a variant may have and still be no worse, as a proportion.
        until_decided: Whether questions were asked only until each verdict was in.
    """

    seed: int
    limit: int | None
    shots: int | None
    context_length: int
    chat_template: str | None
    exact: bool
    confidence: float
    margin: float
    until_decided: bool = False


class ModelRecord(Record):
    """One model: what it is, what loading it cost, and whether it failed.

    Attributes:
        noise_floor: Whether it has the baseline's own weights, run otherwise: its flips are the
            engine's noise, and it gets no verdict.
        restarts: How often its process died or hung and was started again: what it had cost until
            then is not in its costs.
        notes: What befell it.
    """

    label: str
    spec: str
    identity: Identity | None = None
    load_seconds: float = 0.0
    peak_memory_bytes: int = 0
    error: str | None = None
    noise_floor: bool = False
    restarts: int = 0
    notes: list[str] = []


class AnswerRecord(Record):
    """One model's answer to one question.

    Attributes:
        scores: Value of each metric; empty where there was an error.
        parsed: Whether an answer could be made out in a generated text.
        log_probabilities: Per choice, for log-likelihood benchmarks.
        text: For generation benchmarks.
        prompt_tokens: Of the whole question, summed over its requests.
        token_count: Scored or generated tokens, summed over its requests.
        seconds: Share of its batches' time; for generated text the time since the one before.
    """

    doc_id: str
    scores: dict[str, float]
    prediction: str | None = None
    parsed: bool = True
    error: str | None = None
    log_probabilities: list[float] | None = None
    is_greedy: list[bool] | None = None
    text: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int = 0
    token_count: int = 0
    truncated_tokens: int = 0
    seconds: float = 0.0


class AnswerSet(Record):
    """One model's answers to one benchmark, in the order of its questions, and their cost.

    Attributes:
        evaluated_tokens: Tokens the engine ran, padding included.
        ideal_tokens: Tokens it would have run if every distinct prefix were computed once.
        batching: How much was run at once, in words.
        packing: Digest of what was run together: with equal packing, an engine on the same machine
            gives the same bits. Empty where some of them were stored before.
        reused: Responses that an earlier run had stored; the costs are those of the others.
        requests: Those of all questions, asked or not.
        tokens: Digest of them as the model reads them: equal ones were read alike.
    """

    label: str
    answers: list[AnswerRecord]
    wall_seconds: float
    engine_seconds: float
    evaluated_tokens: int
    ideal_tokens: int
    generated_tokens: int
    batching: str
    packing: str
    notes: list[str]
    reused: int = 0
    requests: int = 0
    tokens: str = ""


class QuestionRecord(Record):
    """One question as every model was asked it.

    Attributes:
        cluster: What it shares with others, such as a passage; empty if nothing.
    """

    doc_id: str
    doc_hash: str
    prompt_hash: str
    tags: tuple[str, ...]
    gold: str
    cluster: str = ""


class BenchmarkRecord(Record):
    """One benchmark with its questions, in the order they were asked, and every model's answers.

    Where questions are asked until a verdict is in, the answers are to the first of them.
    """

    name: str
    metrics: list[str]
    shots: int
    available: int
    notes: list[str]
    questions: list[QuestionRecord]
    answer_sets: list[AnswerSet]

    def clusters(self) -> dict[str, str]:
        """The cluster of each question; one that shares nothing is its own."""
        return {q.doc_id: q.cluster or q.doc_id for q in self.questions}


class TokenDifference(Record):
    """The first request that two models read as different tokens."""

    benchmark: str
    doc_id: str
    text: str
    baseline_tokens: list[int]
    variant_tokens: list[int]


class TokenCheck(Record):
    """How a variant's tokens compare with the baseline's, over all requests."""

    label: str
    identical: int
    total: int
    first_difference: TokenDifference | None = None


class Fairness(Record):
    """What was proven before scoring.

    Attributes:
        prompts: Digest of all prompt hashes: the text that every model was given.
    """

    prompts: str
    tokens: list[TokenCheck]
    notes: list[str]


class ScoreSummary(Record):
    """One metric of one model over the questions it answered, or over a subset of them.

    Attributes:
        subset: A tag of the questions, or nothing for all.
        value: Mean, as a proportion.
        lower, upper: Wilson's interval at the run's confidence.
        standard_error: Clustered where questions share a passage; nothing for fewer than two.
    """

    benchmark: str
    label: str
    metric: str
    subset: str | None
    count: int
    value: float
    lower: float
    upper: float
    standard_error: float | None


class ExtractionAudit(Record):
    """What became of the texts that a model generated; every question counts once.

    Attributes:
        correct: By the benchmark's first metric.
        wrong: An answer was made out, and it is another.
        unparseable: None was made out, and the text had come to its end.
        cut_off: Not correct, and ended by the token limit.
        errors: Questions that could not be answered.
    """

    benchmark: str
    label: str
    correct: int
    wrong: int
    unparseable: int
    cut_off: int
    errors: int


class MeanSummary(Record):
    """A mean over questions with its t interval, clustered where questions share a passage.

    Attributes:
        lower, upper: Nothing where a single question or cluster says nothing of the spread.
    """

    mean: float
    lower: float | None
    upper: float | None
    count: int


class Comparison(Record):
    """A variant against the baseline, on the questions that both answered.

    Attributes:
        gains: Questions only the variant has right.
        losses: Questions only the baseline has right.
        missing: Questions that at least one of the two was asked and could not answer.
        difference: Variant minus baseline, as a proportion.
        lower, upper: Tango's interval at the run's confidence.
        mcnemar_p: McNemar's exact test of no difference, two-sided; nothing where questions were
            asked until a verdict was in, for it holds for a fixed number of questions only.
        flip_rate: Questions that one of the two has right, as a proportion.
        flip_lower, flip_upper: Wilson's interval of it.
        changed_wrong: Questions that both have wrong, with different answers.
        choice_kl: Kullback-Leibler divergence of the variant's distribution over a question's
            choices from the baseline's, in nats; nothing for generated answers.
        verdict: Non-inferiority at the run's margin and confidence; undecided where unanswered
            questions could change it. Nothing for a noise floor.
        p_worse: p-value of "the loss is at most the margin", with unanswered questions as gains;
            by Holm over all variants and benchmarks for a benchmark's first metric, unadjusted for
            its others.
        smallest_margin: Smallest margin that so many questions, at this flip rate, can certify
            with 80 % power, as a proportion.
        further_questions: About how many more it would take to decide; 0 if decided, nothing if
            no number would.
    """

    benchmark: str
    label: str
    metric: str
    count: int
    gains: int
    losses: int
    missing: int
    difference: float
    lower: float
    upper: float
    mcnemar_p: float | None
    flip_rate: float
    flip_lower: float
    flip_upper: float
    changed_wrong: int
    choice_kl: MeanSummary | None
    verdict: Verdict | None
    p_worse: float
    smallest_margin: float
    further_questions: int | None


class OverallVerdict(Record):
    """One variant over all benchmarks, by their first metrics.

    No worse if it is on every one; worse if it is on one after Holm's correction.

    Attributes:
        worse_on: Benchmarks on which it is, after the correction.
    """

    label: str
    verdict: Verdict
    worse_on: list[str]


class Ranking(Record):
    """The models of one benchmark in tiers, the best first.

    Every model of a tier is proven better than every model of the next ones (McNemar, Holm over
    all pairs); within a tier the data do not separate them.
    """

    benchmark: str
    tiers: list[list[str]]


class Document(Record):
    """Everything a run found. What follows `benchmarks` is computed from them."""

    format_version: int
    program_version: str
    created: str
    machine: Machine
    settings: RunSettings
    baseline: str
    models: list[ModelRecord]
    fairness: Fairness
    benchmarks: list[BenchmarkRecord]
    scores: list[ScoreSummary] = []
    audits: list[ExtractionAudit] = []
    comparisons: list[Comparison] = []
    verdicts: list[OverallVerdict] = []
    rankings: list[Ranking] = []

    def model(self, label: str) -> ModelRecord:
        """The model of that label."""
        return next(model for model in self.models if model.label == label)

    def benchmark(self, name: str) -> BenchmarkRecord:
        """The benchmark of that name."""
        return next(record for record in self.benchmarks if record.name == name)


def write(document: Document, path: Path) -> None:
    """Writes the document as JSON, whole or not at all."""
    write_whole(encode(document), path)


def encode(document: Document) -> bytes:
    """The document as indented JSON.

    Lone surrogates, as in a path that is no UTF-8, are escaped, and `decode` gives them back; two
    of them that make a pair become its character, as JSON has no other form for them.
    """
    try:
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(document), ensure_ascii=False, indent=1)
        escaped = _SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        return escaped.encode() + b"\n"


def read(path: Path) -> Document:
    """Reads a document. Raises `UsageError` for anything it does not understand."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return decode(raw, str(path))


def decode(raw: bytes, name: str) -> Document:
    """A document from its JSON. Raises `UsageError` for anything it does not understand."""
    try:
        version = _parse(raw, _Versioned).format_version
        if version != FORMAT_VERSION:
            raise UsageError(
                f"{name} has format version {version}; this program reads {FORMAT_VERSION}"
            )
        return _parse(raw, Document)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is no result document: {error}") from None


def _parse(raw: bytes, kind: type[_AnyStruct]) -> _AnyStruct:
    if not _ESCAPED_SURROGATE.search(raw):
        return msgspec.json.decode(raw, type=kind)
    # msgspec takes no lone ones, and the standard library takes constants that JSON lacks.
    return msgspec.convert(json.loads(raw, parse_constant=_refuse), kind)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class _Versioned(msgspec.Struct):
    format_version: int


def json_schema() -> dict[str, Any]:
    """The document's JSON Schema."""
    return msgspec.json.schema(Document)
