"""Turns a benchmark's docs into questions ready to be asked: prompts fixed, subset drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec
import numpy as np
from blake3 import blake3

from pajamas_eval.api.benchmark import SHOT_SEED, Benchmark, Conversation, Doc, Score
from pajamas_eval.api.data import DataSource
from pajamas_eval.api.media import Prompt
from pajamas_eval.api.metrics import check_values
from pajamas_eval.api.requests import Request
from pajamas_eval.api.results import Failure, Result
from pajamas_eval.api.validation import validate_statement
from pajamas_eval.errors import PajamasError, UsageError, one_line
from pajamas_eval.plugins import contained
from pajamas_eval.questions.chat_template import ChatTemplate, Message
from pajamas_eval.questions.rounds import ChatConversation, PlainConversation
from pajamas_eval.statistics.subsets import nested_order


@dataclass(frozen=True, slots=True)
class Question:
    """One doc with what to ask about it.

    Attributes:
        doc_id: The doc's name within its benchmark.
        doc_hash: Digest of the doc's content.
        prompt_hash: Digest of the first round's requests: equal ones mean identical prompts.
        answer: The right answer as a model gives it.
        chance: Expected score of a blind guess.
        threads: The first round's requests, once for each sample.
    """

    doc_id: str
    doc_hash: str
    prompt_hash: str
    tags: tuple[str, ...]
    gold: str
    answer: str
    chance: float
    cluster: str
    threads: tuple[tuple[Request, ...], ...]
    _benchmark: Benchmark[Any]
    _doc: Any
    _conversation: Conversation

    @property
    def requests(self) -> tuple[Request, ...]:
        """Those of the first round, sample after sample."""
        if len(self.threads) == 1:
            return self.threads[0]
        return tuple(request for thread in self.threads for request in thread)

    def next_round(self, sample: int, results: Sequence[Result]) -> tuple[Request, ...]:
        """What to ask next of one sample, given the results of all its requests so far.

        Raises:
            UsageError: The benchmark's code fails.
        """
        with contained(f"{self._benchmark.name}, asked for the next round,"):
            requests = self._benchmark.rounds(self._doc, results, self._conversation)
            return tuple(request.drawn(self._benchmark.sampling, sample) for request in requests)

    def score(self, results: Sequence[Result]) -> Score | Failure:
        """Judges the results of all requests; a failure where that goes wrong for this doc.

        Raises:
            UsageError: The values are others than the benchmark's metrics are declared to have.
        """
        try:
            said = self._benchmark.score(self._doc, results)
            metrics = {name: _number(value) for name, value in said.metrics.items()}
            said = replace(said, metrics=metrics)
            score = validate_statement(Score, said, "the benchmark gave an invalid score")
        except Exception as error:
            reason = str(error) if isinstance(error, PajamasError) else one_line(error)
            return Failure(f"{self._benchmark.name} could not score it: {reason}")
        where = f"{self._benchmark.name} {self.doc_id}"
        check_values(where, self._benchmark.metrics, score.metrics)
        if any(weight <= 0 for weight in score.weights.values()):
            raise UsageError(f"{where}: a weight is above 0, not {dict(score.weights)}")
        return score


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
    if benchmark.repeats > 1 and benchmark.sampling is None:
        raise UsageError(
            f"{benchmark.name} asks for {benchmark.repeats} samples of each text and draws none; "
            "it needs a sampling"
        )
    if benchmark.max_shots is not None and count > benchmark.max_shots:
        most = f"at most {benchmark.max_shots}" if benchmark.max_shots else "no"
        raise UsageError(
            f"{benchmark.name} has {most} few-shot examples, not {count}; choose other benchmarks "
            "with --benchmarks, or another number with --shots"
        )
    docs = benchmark.docs(data)
    if not docs:
        raise UsageError(f"{benchmark.name} has no questions")
    _refuse_odd(benchmark.name, docs)
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
        notes=(*benchmark.notes(docs), *_duplicates([docs[i] for i in indices])),
    )


def _refuse_odd(name: str, docs: Sequence[Any]) -> None:
    """Raises `UsageError` for docs that a result document could not hold, or would mix up."""
    ids: set[str] = set()
    for doc in docs:
        texts = [doc.id, doc.cluster, *doc.tags]
        odd = next((text for text in texts if not isinstance(text, str)), None)
        if odd is not None or doc.id in ids:
            what = f"two docs of the id {doc.id!r}" if odd is None else f"{odd!r} for a doc's text"
            raise UsageError(f"the benchmark {name} is broken: it has {what}")
        ids.add(doc.id)


def _duplicates(docs: Sequence[Any]) -> list[str]:
    """Equal questions err together, which no test of independent ones knows."""
    places = {field.name for field in fields(Doc)}
    contents = [
        {name: value for name, value in msgspec.to_builtins(doc).items() if name not in places}
        for doc in docs
    ]
    different = {_digest(text or doc.id) for text, doc in zip(contents, docs, strict=True)}
    repeated = len(docs) - len(different)
    return [f"repeated questions: {repeated} of {len(docs)}"] if repeated else []


def _question(
    benchmark: Benchmark[Any], doc: Any, shots: Sequence[Any], chat: ChatTemplate | None
) -> Question:
    images = tuple(image for shown in (*shots, doc) for image in benchmark.images(shown))
    conversation: Conversation
    if chat is None:
        prompt = Prompt(_plain_context(benchmark, doc, shots), images)
        conversation, delimiter = PlainConversation(prompt), " "
    else:
        messages = _messages(benchmark, doc, shots)
        prompt = Prompt(chat.render(messages), images)
        conversation, delimiter = ChatConversation(prompt, messages, chat), ""
    requests, gold = benchmark.requests(doc, prompt, delimiter), benchmark.gold(doc)
    if not requests or not isinstance(gold, str):
        raise UsageError(
            f"the benchmark {benchmark.name} is broken: it has "
            f"{'a right answer that is no text' if requests else 'nothing to ask'} for {doc.id}"
        )
    threads = tuple(
        tuple(request.drawn(benchmark.sampling, sample) for request in requests)
        for sample in range(benchmark.repeats)
    )
    return Question(
        doc_id=doc.id,
        doc_hash=_digest(msgspec.to_builtins(doc)),
        prompt_hash=prompt_hash(*(request for thread in threads for request in thread)),
        tags=doc.tags,
        gold=gold,
        answer=benchmark.answer(doc) if benchmark.has_choices else gold,
        chance=benchmark.chance(doc),
        cluster=doc.cluster,
        threads=threads,
        _benchmark=benchmark,
        _doc=doc,
        _conversation=conversation,
    )


def prompt_hash(*requests: Request) -> str:
    """Digest of what is asked, wherever its images lie."""
    return _digest([request.content() for request in requests])


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


def _number(value: Any) -> Any:
    """A truth value, which JSON tells from numbers, as one."""
    return float(value) if isinstance(value, bool | np.bool_) else value


def _digest(value: object) -> str:
    # Lone surrogates have no UTF-8 form, so text is escaped before it is hashed.
    return blake3(repr(value).encode("ascii", "backslashreplace")).hexdigest()
