"""The base of every in-process language-model runtime: all that must be the same everywhere.

An adapter tokenizes, runs token sequences, and reads logits. What a request means in tokens, when
a text is truncated, where a stop string cuts, and how batches shrink when memory runs out is
decided here, once.
"""

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from blake3 import blake3

from pajamas_eval.api.hidden_states import Observer
from pajamas_eval.api.requests import GenerateUntil, LogLikelihood, LogLikelihoodRolling
from pajamas_eval.api.results import Failure
from pajamas_eval.api.runtime import Answers, Capabilities, Usage
from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.tokens.generation import NOT_NUMBERS
from pajamas_eval.tokens.hidden_states import Watch, show_hidden_states
from pajamas_eval.tokens.layer_parts import States
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.prefix_tree import Budget, PrefixTree, Step
from pajamas_eval.tokens.proofs import prove
from pajamas_eval.tokens.scoring import Row, Rows, Scoring, ScoringBatch, place, scored, windows
from pajamas_eval.tokens.token_generator import BATCH_SEQUENCES, TokenGenerator
from pajamas_eval.tokens.token_reader import ENCODE_AT_ONCE

BATCH_TOKENS = 1024
"""Tokens of one scoring batch, padding included."""

BATCH_OUTPUTS = 256
"""Places of one scoring batch whose logits are read: bounds the memory that logits take."""

BATCH_PADDING = 32
"""Padding tokens of one scoring batch: about what a call of its own costs."""


class TokenRuntime(TokenGenerator):
    """Requests in, tokens through an engine, results out."""

    runs_subtrees: ClassVar[bool] = False
    """Whether one batch of the engine can hold a prefix tree; if not, rows are padded."""
    rounding: ClassVar[float] = 0.05
    """Nats by which a batch's shape may move a log-probability, besides a hundredth of it."""

    def __init__(self, options: TokenOptions) -> None:
        super().__init__(options)
        self.budget = self.bounded(
            Budget(BATCH_TOKENS, BATCH_SEQUENCES, BATCH_OUTPUTS, BATCH_PADDING)
        )
        self._batch_digest = blake3()

    def bounded(self, budget: Budget) -> Budget:
        """The budget, no larger than the user's options allow."""
        budget.tokens = min(budget.tokens, self.options.batch_tokens or budget.tokens)
        budget.rows = min(budget.rows, self.options.batch_sequences or budget.rows)
        return budget

    @abstractmethod
    def score(self, batch: ScoringBatch) -> int:
        """Fill each row's log-probabilities; returns the number of tokens run.

        Raises:
            OutOfMemoryError: There was no room; the engine has forgotten its base.
        """

    def clear_cache(self) -> None:
        """Give back the memory of the base."""

    def trace(self, tokens: Sequence[int], watch: Watch) -> States:
        """Run one text and tell of its hidden states; see `hidden_states.Tracer`."""
        raise UsageError(f"the {self.name} runtime does not show hidden states")

    def answer_settings(self) -> Mapping[str, Any]:
        """As the model reads text, and its damage, if there is any."""
        damage = {"damage": self.options.damage} if self.options.damage else {}
        return {**super().answer_settings(), **damage}

    def hidden_states(self, tokens: Sequence[int], observe: Observer) -> None:
        """Runs a text twice, first a few tokens of it that tell which tensor is what."""
        show_hidden_states(self, self.options.path, tokens, observe)

    @property
    def capabilities(self) -> Capabilities:
        """Text in, all three request kinds."""
        return Capabilities(frozenset({LogLikelihood, LogLikelihoodRolling, GenerateUntil}))

    def loglikelihood(self, requests: Sequence[LogLikelihood]) -> Answers:
        """Log-probability of each continuation after its context.

        An empty continuation has probability one. A continuation longer than the context length,
        one that nothing stands in front of, and a text without tokens are failures.
        """
        rows = Rows()
        limit = self.context_length
        scorings: list[Scoring | Failure] = []
        for start in range(0, len(requests), ENCODE_AT_ONCE):
            chunk = requests[start : start + ENCODE_AT_ONCE]
            for request, (context, continuation) in zip(chunk, self.pairs(chunk), strict=True):
                scorings.append(place(rows, request, context, continuation, limit))
        yield from self._run(rows.rows, scorings)

    def loglikelihood_rolling(self, requests: Sequence[LogLikelihoodRolling]) -> Answers:
        """Log-probability of each whole text, each token predicted exactly once.

        The first window starts with the BOS token (or EOS, where there is none); each later
        window scores at most a context's worth of new tokens, after as much text as fits.
        """
        rows = Rows()
        scorings: list[Scoring | Failure] = []
        for start in range(0, len(requests), ENCODE_AT_ONCE):
            chunk = requests[start : start + ENCODE_AT_ONCE]
            for request, encoded in zip(
                chunk, self.encode_clean([r.text for r in chunk]), strict=True
            ):
                prefix = list(self.empty_context)
                if not prefix:
                    scorings.append(Failure("the model has neither a BOS nor an EOS token"))
                    continue
                if encoded[: len(prefix)] == prefix:  # the text spells out its own BOS
                    encoded = encoded[len(prefix) :]
                reads = [
                    rows.add(inputs, first, targets)
                    for inputs, first, targets in windows(prefix, encoded, self.context_length)
                ]
                byte_count = len(request.text.encode("utf-8", "replace"))
                scorings.append(Scoring(len(encoded), byte_count, len(reads), 0, reads))
        yield from self._run(rows.rows, scorings)

    def _run(self, rows: list[Row], scorings: Sequence[Scoring | Failure]) -> Answers:
        """Scores the rows batch by batch; yields a request once its last row is done."""
        waiting: dict[int, int] = {}
        readers: list[list[int]] = [[] for _ in rows]
        for i, scoring in enumerate(scorings):
            if isinstance(scoring, Failure):
                yield i, scoring
                continue
            waiting[i] = len(scoring.reads)
            for row, _ in scoring.reads:
                readers[row].append(i)
            if not scoring.reads:
                yield i, scored(scoring, rows)
        errors: dict[int, str] = {}
        for row, error in self._score_rows(rows):
            rows[row].seconds /= max(1, len(readers[row]))
            for i in readers[row]:
                if error:
                    errors[i] = error
                waiting[i] -= 1
                if waiting[i] == 0:
                    scoring = scorings[i]
                    assert isinstance(scoring, Scoring)
                    result = Failure(errors[i]) if i in errors else scored(scoring, rows)
                    yield i, result
            readers[row] = []

    def _score_rows(self, rows: Sequence[Row]) -> Iterator[tuple[int, str | None]]:
        """Scores all rows as planned. Yields (row, error or nothing)."""
        if self.options.exact:
            self.budget.rows = 1
        self._batch_digest = blake3()
        for long in (False, True):
            chosen = [i for i, row in enumerate(rows) if self.is_long(len(row.tokens)) == long]
            part = [rows[i] for i in chosen]
            tree = PrefixTree(
                [row.tokens for row in part],
                [min(row.positions) for row in part],
                [len(set(row.positions)) for row in part],
                sharing=self.shares_prefix and not self.options.exact and not long,
            )
            self.usage.prompt_tokens += tree.distinct_tokens
            plan = tree.packed if self.runs_subtrees else tree.padded
            for step in plan(self.budget):
                for i, error in self._score_step(part, tree, step):
                    yield chosen[i], error
        self.clear_cache()
        self.usage.batching = (
            "one sequence at a time"
            if self.budget.rows == 1
            else f"up to {self.budget.tokens} tokens and {self.budget.rows} sequences at once"
        )
        self.usage.batch_digest = self._batch_digest.hexdigest()
        self.usage.device_memory_bytes = self.device_memory_bytes()

    def prove(self, *, can_share: bool = True) -> tuple[str, ...]:
        """Finds out, by trying, how the model that was just loaded can be run.

        Args:
            can_share: Whether there is any hope that its cache can be shared.

        Returns:
            What a reader should know.

        Raises:
            UsageError: It is not a causal language model.
        """
        proofs = prove(
            self, self.options.path, can_share=can_share, together=not self.options.exact
        )
        self.usage = Usage()  # what is tried is no answer's cost
        self.shares_prefix, self.shares_prompts = proofs.shares_prefix, proofs.shares_prompts
        if not proofs.scores_together:
            self.budget.rows = 1
        if not proofs.generates_together:
            self.batch_sequences = 1
        return proofs.notes

    def _score_step(
        self, rows: Sequence[Row], tree: PrefixTree, step: Step
    ) -> Iterator[tuple[int, str | None]]:
        """Scores one step, in halves where memory runs out."""
        chosen = [tree.order[place] for place in step.places]
        batch = ScoringBatch(
            base=rows[chosen[0]].tokens[: step.base],
            rows=[rows[i] for i in chosen],
            segments=tree.segments(step) if self.runs_subtrees else (),
            stem=step.stem,
            parents=step.parents,
        )
        started = time.perf_counter()
        self.heartbeat()
        try:
            tokens = self.score(batch)
        except OutOfMemoryError as error:
            self.usage.prompt_seconds += time.perf_counter() - started
            if len(chosen) == 1:
                yield chosen[0], f"out of memory: {error}"
                return
            self.budget.tokens = max(1, self.budget.tokens // 2)
            self.budget.outputs = max(1, self.budget.outputs // 2)
            self.usage.notes.append(f"out of memory: batches now hold {self.budget.tokens} tokens")
            middle = len(chosen) // 2
            for half in (step.places[:middle], step.places[middle:]):
                yield from self._score_step(rows, tree, Step(step.base, half))
            return
        seconds = time.perf_counter() - started
        self.usage.prompt_seconds += seconds
        self.usage.evaluated_tokens += tokens
        self._batch_digest.update(repr((step.base, step.stem, step.parents)).encode())
        for row in batch.rows:
            self._batch_digest.update(row.tokens.tobytes() + b"\n")
        own = sum(len(row.tokens) - step.base for row in batch.rows)
        # One look at them all: rows are many and short.
        all_good = np.isfinite(np.concatenate([r.log_probabilities for r in batch.rows])).all()
        for i in chosen:
            rows[i].seconds = seconds * (len(rows[i].tokens) - step.base) / own
            bad = not (all_good or np.isfinite(rows[i].log_probabilities).all())
            yield i, NOT_NUMBERS if bad else None
