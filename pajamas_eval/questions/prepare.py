"""Turns a benchmark's docs into questions ready to be asked: prompts fixed, subset drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from blake3 import blake3

from pajamas_eval.api.benchmark import SHOT_SEED, Benchmark, Score
from pajamas_eval.api.data import DataSource
from pajamas_eval.api.requests import Request
from pajamas_eval.api.results import GenerationResult, LogLikelihoodResult
from pajamas_eval.errors import UsageError
from pajamas_eval.questions.chat_template import ChatTemplate, Message
from pajamas_eval.statistics.subsets import nested_order


@dataclass(frozen=True, slots=True)
class Question:
    """One doc with what to ask about it.

    Attributes:
        doc_id: The doc's name within its benchmark.
        doc_hash: Digest of the doc's content.
        prompt_hash: Digest of the requests: equal hashes mean identical prompts.
    """

    doc_id: str
    doc_hash: str
    prompt_hash: str
    tags: tuple[str, ...]
    gold: str
    cluster: str
    requests: tuple[Request, ...]
    _benchmark: Benchmark[Any]
    _doc: Any

    def score(self, results: Sequence[LogLikelihoodResult | GenerationResult]) -> Score:
        """Judges the results of `requests`, in their order."""
        return self._benchmark.score(self._doc, results)


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of one benchmark, the same for every model.

    Attributes:
        available: Number of docs before a limit was applied.
        notes: What a reader should know about these questions.
    """

    benchmark: Benchmark[Any]
    questions: tuple[Question, ...]
    shots: int
    available: int
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.benchmark.name


def prepare(
    benchmark: Benchmark[Any],
    data: DataSource,
    *,
    shots: int | None = None,
    limit: int | None = None,
    seed: int = SHOT_SEED,
    chat: ChatTemplate | None = None,
    shuffled: bool = False,
) -> QuestionSet:
    """The questions of one benchmark.

    The prompts are fixed over all docs before a subset is drawn, so that a question's few-shot
    examples do not depend on the limit. Subsets of one seed are nested, and hold about the same
    share of every stratum (the docs' first tag, such as a subject); `shuffled` ones are drawn and
    kept in plain random order, as a test that looks more than once needs them.

    Raises:
        UsageError: The data or the number of shots does not fit.
    """
    count = benchmark.default_shots if shots is None else shots
    if benchmark.max_shots is not None and count > benchmark.max_shots:
        most = f"at most {benchmark.max_shots}" if benchmark.max_shots else "no"
        raise UsageError(
            f"{benchmark.name} has {most} few-shot examples, not {count}; choose other benchmarks "
            "with --benchmarks, or another number with --shots"
        )
    docs = benchmark.docs(data)
    chosen = benchmark.choose_shots(data, docs, count, seed)
    indices: Sequence[int] = range(len(docs))
    if shuffled:
        indices = nested_order([""] * len(docs), f"{seed}/{benchmark.name}")[:limit]
    elif limit is not None and limit < len(docs):
        strata = [doc.tags[0] if doc.tags else "" for doc in docs]
        indices = sorted(nested_order(strata, f"{seed}/{benchmark.name}")[:limit])
    return QuestionSet(
        benchmark=benchmark,
        questions=tuple(_question(benchmark, docs[i], chosen[i], chat) for i in indices),
        shots=count,
        available=len(docs),
        notes=tuple(benchmark.notes(docs)),
    )


def _question(
    benchmark: Benchmark[Any], doc: Any, shots: Sequence[Any], chat: ChatTemplate | None
) -> Question:
    if chat is None:
        context = _plain_context(benchmark, doc, shots)
        requests = benchmark.requests(doc, context, delimiter=" ")
    else:
        context = chat.render(_messages(benchmark, doc, shots))
        requests = benchmark.requests(doc, context, delimiter="")
    return Question(
        doc_id=doc.id,
        doc_hash=_digest(doc),
        prompt_hash=_digest([(type(request).__name__, request) for request in requests]),
        tags=doc.tags,
        gold=benchmark.gold(doc),
        cluster=doc.cluster,
        requests=tuple(requests),
        _benchmark=benchmark,
        _doc=doc,
    )


def _plain_context(benchmark: Benchmark[Any], doc: Any, shots: Sequence[Any]) -> str:
    """Description, examples and question, joined as lm-eval does."""
    examples = [f"{benchmark.question(shot)} {benchmark.answer(shot)}\n\n" for shot in shots]
    return benchmark.description(doc) + "".join(examples) + benchmark.question(doc)


def _messages(benchmark: Benchmark[Any], doc: Any, shots: Sequence[Any]) -> list[Message]:
    """Description as the system message, every example a turn of its own."""
    messages = []
    if description := benchmark.description(doc):
        messages.append({"role": "system", "content": description})
    for shot in shots:
        messages.append({"role": "user", "content": benchmark.question(shot)})
        messages.append({"role": "assistant", "content": benchmark.answer(shot)})
    messages.append({"role": "user", "content": benchmark.question(doc)})
    return messages


def _digest(value: Any) -> str:
    # Lone surrogates have no UTF-8 form, so text is escaped before it is hashed.
    return blake3(repr(msgspec.to_builtins(value)).encode("ascii", "backslashreplace")).hexdigest()
