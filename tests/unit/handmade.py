"""A small result document made by hand."""

from collections.abc import Mapping, Sequence

from pajamas_eval.api.identity import Identity
from pajamas_eval.api.metrics import Margin, Metric
from pajamas_eval.api.requests import FinishReason, GenerationResult, LogLikelihoodResult, Response
from pajamas_eval.results.document import (
    AnswerRecord,
    AnswerSet,
    BenchmarkRecord,
    Document,
    Fairness,
    ModelRecord,
    QuestionRecord,
    TokenCheck,
)
from pajamas_eval.results.file import FORMAT_VERSION
from pajamas_eval.results.machine import Machine
from pajamas_eval.results.run_config import RunSettings


def identity(**changes: object) -> Identity:
    known: dict[str, object] = {
        "runtime": "gguf",
        "path": "m.gguf",
        "digest": "00" * 32,
        "size_bytes": 12_345_678,
        "architecture": "llama",
        "parameters": 1000,
        "quantization": "Q4_K_M",
        "bits_per_weight": 4.5,
        "dtype": "f16 cache",
        "device": "CPU",
        "versions": {"llama-cpp-python": "0.3.36"},
    }
    return Identity(**(known | changes))  # type: ignore[arg-type]


ACCURACY = Metric("acc")


def answer(doc_id: str, value: float | str, metric: str = "acc") -> AnswerRecord:
    """Right (1.0), wrong (0.0), any other score, or an error's text."""
    if isinstance(value, str):
        return AnswerRecord(doc_id=doc_id, error=value)
    parts: list[Response] = [LogLikelihoodResult(-1.0, True, 1, 1, 1, seconds=0.1)]
    return AnswerRecord(doc_id=doc_id, scores={metric: value}, prediction="0", parts=parts)


def choices(*log_probabilities: float) -> list[Response]:
    """The parts of an answer to a question with so many choices."""
    return [LogLikelihoodResult(value, False, 1, 1, 1) for value in log_probabilities]


def written(text: str, finish_reason: FinishReason = "stop") -> list[Response]:
    """The part of an answer that was generated."""
    return [GenerationResult(text, finish_reason, 1, 1)]


def answer_set(
    label: str, values: Mapping[str, float | str], metric: str = "acc", **changes: object
) -> AnswerSet:
    known: dict[str, object] = {
        "wall_seconds": 2.0,
        "prompt_seconds": 1.25,
        "generation_seconds": 0.0,
        "evaluated_tokens": 3000,
        "prompt_tokens": 2500,
        "batching": "up to 512 tokens and 127 sequences at once",
        "batch_digest": "00ff",
        "generated_tokens": 0,
        "notes": [],
    }
    answers = [answer(doc_id, value, metric) for doc_id, value in values.items()]
    return AnswerSet(label=label, answers=answers, **(known | changes))  # type: ignore[arg-type]


def document(
    sets: Sequence[AnswerSet],
    *,
    tags: Mapping[str, tuple[str, ...]] | None = None,
    available: int | None = None,
    notes: Sequence[str] = (),
    fairness_notes: Sequence[str] = (),
    metric: Metric = ACCURACY,
    margins: tuple[Margin, ...] = (),
) -> Document:
    """One benchmark called `quiz`, whose questions are those of the first set."""
    questions = [
        QuestionRecord(
            doc_id=a.doc_id,
            doc_hash="d",
            prompt_hash="p",
            tags=(tags or {}).get(a.doc_id, ()),
            gold="0",
        )
        for a in sets[0].answers
    ]
    labels = [s.label for s in sets]
    return Document(
        format_version=FORMAT_VERSION,
        program_version="0.1.0",
        created="2025-01-01T00:00:00+00:00",
        machine=Machine(system="Linux", processor="x", cores=2, memory_bytes=8, python="3.11"),
        settings=RunSettings(seed=1, context_length=64, confidence=0.95, margins=margins),
        baseline=labels[0],
        models=[
            ModelRecord(
                label=label,
                spec=f"{label}.gguf",
                identity=identity(),
                load_seconds=0.5,
                peak_memory_bytes=1_500_000_000,
            )
            for label in labels
        ],
        fairness=Fairness(
            prompt_digest="abcdef0123456789",
            tokens=[TokenCheck(label=label, identical=8, total=8) for label in labels[1:]],
            notes=list(fairness_notes),
        ),
        benchmarks=[
            BenchmarkRecord(
                name="quiz",
                metrics=[metric],
                shots=0,
                available=len(questions) if available is None else available,
                notes=list(notes),
                questions=questions,
                answer_sets=list(sets),
                has_choices=any(len(a.log_probabilities) > 1 for s in sets for a in s.answers),
            )
        ],
    )
