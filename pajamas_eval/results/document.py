"""The result document: everything a run found, in one versioned JSON file."""

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.identity import Identity
from pajamas_eval.api.metrics import Metric
from pajamas_eval.api.requests import FinishReason, GenerationResult, Response
from pajamas_eval.results.findings import (
    Comparison,
    ExtractionAudit,
    OverallVerdict,
    Ranking,
    ScoreSummary,
    Sensitivity,
    Suspicion,
)
from pajamas_eval.results.machine import Machine
from pajamas_eval.results.record import Record
from pajamas_eval.results.run_config import RunSettings


class ModelRecord(Record):
    """One model: what it is, what loading it cost, and whether it failed.

    Attributes:
        spec: What the user typed for it, without options.
        key: What its answers are stored under; nothing where it could not be opened.
        architecture: As its engine resolved it; nothing where that is unknown.
        refused: Whether that error is the model's own: no engine failed, it cannot be used.
        noise_floor: Whether it has the baseline's own weights, run otherwise: its flips are the
            engine's noise, and it gets no verdict.
        control: Whether it is the baseline, damaged on purpose.
        restarts: How often its process died or hung and was started again: what it had cost until
            then is not in its costs.
        notes: Events during the run.
    """

    label: str
    spec: str
    key: AnswerKey | None = None
    identity: Identity | None = None
    architecture: ArchitectureFacts | None = None
    load_seconds: float = 0.0
    peak_memory_bytes: int = 0
    error: str | None = None
    refused: bool = False
    noise_floor: bool = False
    control: bool = False
    restarts: int = 0
    notes: list[str] = []


class AnswerRecord(Record, omit_defaults=True):
    """One model's answer to one question.

    Attributes:
        scores: Value of each metric; empty where there was an error.
        weights: Of the question in metrics of kind `ratio`, where they are not 1.
        prediction: What the model answered, in the benchmark's own form.
        predictions: By the name of a further metric, where the model's answer is another by it.
        parsed: Whether an answer could be made out in a generated text.
        parts: Results of its requests, in their order; those that failed are left out.
        later_prompts: Digests of the requests of its later rounds, which depend on its answers.
    """

    doc_id: str
    scores: dict[str, float] = {}
    weights: dict[str, float] = {}
    prediction: str | None = None
    parsed: bool = True
    error: str | None = None
    parts: list[Response] = []
    later_prompts: list[str] = []
    predictions: dict[str, str] = {}

    def prediction_by(self, metric: str) -> str | None:
        """What the model answered, as that metric sees it."""
        return self.predictions.get(metric, self.prediction)

    @property
    def log_probabilities(self) -> list[float]:
        """Those of all its parts: of its choices, where the benchmark has choices."""
        return [value for part in self.parts for value in part.log_probabilities]

    @property
    def texts(self) -> list[str]:
        """Those that were generated."""
        return [part.text for part in self.parts if isinstance(part, GenerationResult)]

    @property
    def finish_reasons(self) -> list[FinishReason]:
        """Why each generated text ended."""
        return [part.finish_reason for part in self.parts if isinstance(part, GenerationResult)]

    @property
    def truncated_tokens(self) -> int:
        """Tokens cut from the left, over all its requests."""
        return sum(part.truncated_tokens for part in self.parts)

    @property
    def seconds(self) -> float:
        """What it took, as a share of the batches' time."""
        return sum(part.seconds for part in self.parts)


class AnswerSet(Record):
    """One model's answers to one benchmark, in the order they were asked for, and their cost.

    Attributes:
        evaluated_tokens: Tokens the engine ran, with padding, prefixes that were run again, and
            what was run for texts of a batch that were finished.
        prompt_tokens: Tokens it would have run for all that it read, scored texts included, if
            every distinct prefix were computed once.
        generated_tokens: Tokens it would have run to generate: all new ones, an end token included,
            but the first of each text, which comes with its prompt.
        prompt_seconds: Wall time that the engine took to read; 0 where it is not known.
        generation_seconds: Wall time that it took to generate; 0 where it is not known.
        batching: How much was run at once, in words.
        batch_digest: Of what was run together: with equal ones, an engine on the same machine gives
            the same bits. Empty where some of the responses were stored before.
        cached_responses: Those that other runs stored, before or meanwhile; the costs are those of
            the rest.
        disturbance: Share of its time that it lost because other programs had the processors.
        disturbed: Whether that is a tenth or more: its speed is not what it could be.
        reading_digests: How the model reads each request of the first round of all questions,
            asked or not: with equal ones, two models read it alike. Empty where that is unknown.
    """

    label: str
    answers: list[AnswerRecord]
    wall_seconds: float
    prompt_seconds: float
    generation_seconds: float
    evaluated_tokens: int
    prompt_tokens: int
    generated_tokens: int
    batching: str
    batch_digest: str
    notes: list[str]
    cached_responses: int = 0
    disturbance: float = 0.0
    disturbed: bool = False
    reading_digests: list[str] = []

    @property
    def prompt_tokens_per_second(self) -> float:
        """Distinct tokens read in each second that reading took; 0 where nothing was measured."""
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def generated_tokens_per_second(self) -> float:
        """Tokens generated in each second that generating took, over all texts at once."""
        return self.generated_tokens / self.generation_seconds if self.generation_seconds else 0.0

    @property
    def overhead(self) -> float:
        """Tokens that were run for each one that had to be; 0 where nothing was measured."""
        distinct = self.prompt_tokens + self.generated_tokens
        return self.evaluated_tokens / distinct if distinct else 0.0

    @property
    def is_generated(self) -> bool:
        """Whether texts were generated, now or before they were stored."""
        return any(answer.texts for answer in self.answers)


class QuestionRecord(Record):
    """One question as every model was asked it.

    Attributes:
        prompt_hash: Digest of the requests of its first round.
        cluster: What it shares with others, such as a passage; empty if nothing.
        answer: The right answer as a model gives it, such as a letter; empty where that is unknown.
        chance: Expected score of a blind guess; nothing where that is unknown.
    """

    doc_id: str
    doc_hash: str
    prompt_hash: str
    tags: tuple[str, ...]
    gold: str
    cluster: str = ""
    answer: str = ""
    chance: float | None = None


class BenchmarkRecord(Record):
    """One benchmark with its questions, in the order they were asked, and every model's answers.

    Where questions are asked until a verdict is in, the answers are to the first of them.

    Attributes:
        metrics: The headline metric first.
        has_choices: Whether the parts of an answer are the log-probabilities of choices.
        cloze: Name of the benchmark that asks the same in a form that weaker models understand;
            empty if there is none.
        max_shots: Most few-shot examples that it can have; nothing where there is no limit.
    """

    name: str
    metrics: list[Metric]
    shots: int
    available: int
    notes: list[str]
    questions: list[QuestionRecord]
    answer_sets: list[AnswerSet]
    has_choices: bool = False
    cloze: str = ""
    max_shots: int | None = 0

    @property
    def headline(self) -> Metric:
        """The metric that verdicts are about."""
        return self.metrics[0]

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)

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
    """How a variant reads the requests, compared with the baseline.

    Attributes:
        identical: Requests that both read alike.
        total: All requests of the first rounds.
        unknown: Requests that one of the two cannot tell how it reads.
    """

    label: str
    identical: int
    total: int
    unknown: int = 0
    first_difference: TokenDifference | None = None


class ArchitectureCheck(Record):
    """A variant's architecture compared with the baseline's, each as its engine resolved it.

    Attributes:
        known: Values that are known of both.
        differences: Those that differ and change answers, in words.
        different_models: Whether the two do not even claim to be one model.
    """

    label: str
    known: int
    differences: list[str]
    different_models: bool = False


class LaterRounds(Record):
    """How a variant's prompts of later rounds, which depend on its answers, compare.

    Attributes:
        identical: Prompts that are the baseline's too.
        total: Prompts of the variant's later rounds.
    """

    label: str
    identical: int
    total: int


class Fairness(Record):
    """What was proven before scoring; only the later rounds are counted after it.

    Attributes:
        prompt_digest: Of all prompt hashes: the text that every model was given.
    """

    prompt_digest: str
    tokens: list[TokenCheck]
    notes: list[str]
    later_rounds: list[LaterRounds] = []
    architectures: list[ArchitectureCheck] = []

    def are_different_models(self, label: str) -> bool:
        """Whether a variant is another model than the baseline, and no variant of it."""
        return any(check.label == label and check.different_models for check in self.architectures)


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
    suspicions: list[Suspicion] = []
    sensitivities: list[Sensitivity] = []

    def model(self, label: str) -> ModelRecord:
        """The model of that label."""
        return next(model for model in self.models if model.label == label)

    def benchmark(self, name: str) -> BenchmarkRecord:
        """The benchmark of that name."""
        return next(record for record in self.benchmarks if record.name == name)

    @property
    def variants(self) -> list[ModelRecord]:
        """The models that are judged: neither the baseline nor what runs to judge the questions."""
        return [
            model
            for model in self.models
            if not (model.label == self.baseline or model.noise_floor or model.control)
        ]

    def control(self, benchmark: str, metric: Metric) -> Comparison | None:
        """What a benchmark showed of the damaged baseline, if there was one."""
        labels = {model.label for model in self.models if model.control}
        for c in self.comparisons:
            if c.label in labels and (c.benchmark, c.metric) == (benchmark, metric.name):
                return c
        return None

    def sensitivity(self, benchmark: str, label: str, metric: Metric) -> Sensitivity | None:
        """How far a model is above chance, where that is known."""
        for found in self.sensitivities:
            if (found.benchmark, found.label, found.metric) == (benchmark, label, metric.name):
                return found
        return None

    def keys(self) -> dict[str, AnswerKey]:
        """The answer keys that are known, by label."""
        return {model.label: model.key for model in self.models if model.key}
