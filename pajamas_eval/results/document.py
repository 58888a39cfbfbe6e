"""The result document: everything a run found, in one versioned JSON file."""

from pajamas_eval.api.identity import Identity
from pajamas_eval.results.findings import (
    Comparison,
    ExtractionAudit,
    OverallVerdict,
    Ranking,
    ScoreSummary,
)
from pajamas_eval.results.machine import Machine
from pajamas_eval.results.record import Record


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
        notes: Events during the run.
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
        batch_digest: Of what was run together: with equal ones, an engine on the same machine gives
            the same bits. Empty where some of the responses were stored before.
        cached_responses: Those that an earlier run had stored; the costs are those of the others.
        requests: Those of all questions, asked or not.
        token_digest: Digest of them as the model reads them: equal ones were read alike.
    """

    label: str
    answers: list[AnswerRecord]
    wall_seconds: float
    engine_seconds: float
    evaluated_tokens: int
    ideal_tokens: int
    generated_tokens: int
    batching: str
    batch_digest: str
    notes: list[str]
    cached_responses: int = 0
    requests: int = 0
    token_digest: str = ""


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
        prompt_digest: Digest of all prompt hashes: the text that every model was given.
    """

    prompt_digest: str
    tokens: list[TokenCheck]
    notes: list[str]


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
