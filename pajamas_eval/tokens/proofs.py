"""What answers rely on, proven by trying when a model is loaded.

Whether earlier logits ignore later tokens, and whether those of a sequence ignore what runs beside
it, depends on a model's architecture and on how an engine pads, masks and caches. To try is surer
than to know all of them by name, and takes a few hundred tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.prefix_tree import PrefixTree, Step
from pajamas_eval.tokens.scoring import Row, ScoringBatch

LEAST_ROUNDING = 1e-4
"""Nats that may be rounding even where what stands in front hardly matters."""

NOISE = 1e-5
"""Nats by which two runs of one shape may differ."""

SCORES_ALONE = (
    "its log-probabilities depend on what runs beside a sequence: it is scored one at a time"
)
GENERATES_ALONE = "its texts depend on what is generated beside them: they are generated one by one"

NEW_TOKENS = 2
"""One that the prompt gives, and one that a token of its own gives."""

_NOTHING = np.empty(0, np.int32)
_TOKENS = np.arange(20, 34, dtype=np.int32)  # not among the special ones, which mask or shift
_BASE, _STEM = 8, 10
_PARENTS = (0, 0, 1)
_PLACES, _TARGETS = (2, 3, 4, 5), (11, 12, 13, 15, 18, 23)


class Engine(Protocol):
    """What is tried: `TokenRuntime` explains each."""

    runs_subtrees: ClassVar[bool]
    rounding: ClassVar[float]
    shares_prompts: bool
    least_shared_prompt: int

    def score(self, batch: ScoringBatch) -> int: ...  # noqa: D102

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]: ...  # noqa: D102

    def clear_cache(self) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Proofs:
    """How a model can be run without another answer.

    Attributes:
        shares_prefix: Scoring may start several sequences from one cache.
        scores_together: It may run several sequences at once.
        shares_prompts: Generation may start several texts from one cache.
        generates_together: It may advance several texts at once.
    """

    shares_prefix: bool = False
    scores_together: bool = True
    shares_prompts: bool = False
    generates_together: bool = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        scores = () if self.scores_together else (SCORES_ALONE,)
        return scores if self.generates_together else (*scores, GENERATES_ALONE)


def prove(engine: Engine, path: str, *, can_share: bool, together: bool) -> Proofs:
    """Tries a model that was just loaded.

    Args:
        engine: Has the model.
        path: Names it in errors.
        can_share: Whether there is any hope that a cache can be shared.
        together: Whether more than one sequence is to be run at once; if not, only that the model
            is causal is tried.

    Raises:
        UsageError: Later tokens change earlier logits, or nothing can be computed at all.
    """
    effect = _effect_of_context(engine, path)
    if not together or not np.isfinite(effect):  # of the latter every answer will be an error
        return Proofs()
    tolerance = _Tolerance(engine.rounding, effect)
    scoring = _Scoring(engine, tolerance)
    shares_prefix = can_share and scoring.holds(shared=True)
    scores_together = shares_prefix or scoring.holds(shared=False)
    try:
        generating = _Generating(engine, tolerance)
    except Exception:  # it cannot generate, which is no reason not to score it
        return Proofs(shares_prefix, scores_together)
    shares_prompts = can_share and generating.holds(shared=True)
    together = shares_prompts or generating.holds(shared=False)
    return Proofs(shares_prefix, scores_together, shares_prompts, together)


def _effect_of_context(engine: Engine, path: str) -> float:
    """Nats by which the first token changes later log-probabilities, by the largest of some.

    Tokens that come later change a masked language model's by as much, and a causal one's not at
    all: what is compared has one shape.
    """
    later, first = _TOKENS.copy(), _TOKENS.copy()
    later[_PLACES[-1] + 1 :] += len(_TOKENS)
    first[0] += len(_TOKENS)
    positions = [place for place in _PLACES for _ in _TARGETS]
    targets = [*_TARGETS] * len(_PLACES)
    rows = [Row(tokens, positions, targets) for tokens in (_TOKENS, later, first)]
    try:
        engine.score(_batch(engine, _NOTHING, rows, sharing=False))
    except OutOfMemoryError:
        raise
    except Exception as error:  # an engine may refuse in any way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{path} cannot be run: {reason}") from None
    finally:
        engine.clear_cache()
    plain, after_later, after_first = (row.log_probabilities for row in rows)
    effect = float(np.abs(after_first - plain).max())
    if np.abs(after_later - plain).max() > max(NOISE, effect / 20):
        raise UsageError(
            f"{path} is not a causal language model: later tokens change earlier logits"
        )
    return effect


@dataclass(frozen=True)
class _Tolerance:
    """What may be rounding: so many nats, and no more than that share of the context's effect."""

    rounding: float
    effect: float

    def allows(self, found: Sequence[ArrayLike], expected: Sequence[ArrayLike]) -> bool:
        """Whether values are the same, save for rounding."""
        these, those = np.concatenate(found), np.concatenate(expected)
        most = self.rounding + 0.01 * np.abs(those)
        least = max(LEAST_ROUNDING, self.rounding * self.effect)
        return bool((np.abs(these - those) <= np.minimum(most, least)).all())


class _Scoring:
    """Rows of unequal length, with and without a base that they share."""

    def __init__(self, engine: Engine, tolerance: _Tolerance) -> None:
        self._engine, self._tolerance = engine, tolerance
        self._rows = [
            Row(np.append(_TOKENS[:_STEM], _TOKENS[n:]), [_STEM - 1, 23 - n], [*_TARGETS[:2]])
            for n in (2, 4, 6)
        ]
        for row in self._rows:
            engine.score(_batch(engine, _NOTHING, [row]))
        self._alone = [row.log_probabilities for row in self._rows]

    def holds(self, *, shared: bool) -> bool:
        """Whether the rows together give what each gives alone."""
        base, rows = _TOKENS[:_BASE], self._rows
        if not shared:
            batches = [_batch(self._engine, _NOTHING, rows, sharing=False)]
        elif self._engine.runs_subtrees:
            batches = [_batch(self._engine, each, rows) for each in (_NOTHING, base)]
        else:
            batches = [ScoringBatch(base, rows, stem=_STEM, parents=_PARENTS)]
        return all(_tried(self._engine, partial(self._equals, batch)) for batch in batches)

    def _equals(self, batch: ScoringBatch) -> bool:
        self._engine.score(batch)
        return self._tolerance.allows([row.log_probabilities for row in batch.rows], self._alone)


class _Generating:
    """Texts after prompts of unequal length, with and without a base that they share."""

    def __init__(self, engine: Engine, tolerance: _Tolerance) -> None:
        self._engine, self._tolerance = engine, tolerance
        self._prompts = [[*_TOKENS[:_BASE], *_TOKENS[n:]] for n in (7, 13)]
        (self._alone,) = self._generated(self._prompts[1:])

    def holds(self, *, shared: bool) -> bool:
        """Whether the texts together are what each is alone."""
        engine = self._engine
        before = engine.shares_prompts, engine.least_shared_prompt
        engine.shares_prompts, engine.least_shared_prompt = shared, _BASE
        try:
            return _tried(engine, self._equal)
        finally:
            engine.shares_prompts, engine.least_shared_prompt = before

    def _equal(self) -> bool:
        """Of the shorter one, which is padded where texts are run side by side."""
        _, found = self._generated(self._prompts)
        expected = self._alone
        # Where the tokens part, both logits are the largest: equal, or the texts are different.
        pairs = enumerate(zip(found.tokens, expected.tokens, strict=True), 1)
        count = next((i for i, (ours, theirs) in pairs if ours != theirs), NEW_TOKENS)
        logits = [(g.logits or ())[:count] for g in (found, expected)]
        return self._tolerance.allows(logits[:1], logits[1:])

    def _generated(self, prompts: Sequence[list[int]]) -> list[Generation]:
        generations = [
            Generation(i, [*map(int, prompt)], (), NEW_TOKENS, frozenset(), _no_text, logits=[])
            for i, prompt in enumerate(prompts)
        ]
        for _ in self._engine.generate(generations):
            pass
        return generations


def _no_text(tokens: Sequence[int], *, keep_special: bool) -> str:
    return ""


def _batch(
    engine: Engine, base: NDArray[np.int32], rows: Sequence[Row], *, sharing: bool = True
) -> ScoringBatch:
    """Rows that are in token order."""
    if not engine.runs_subtrees:
        return ScoringBatch(base, rows)
    reads = [len(set(row.positions)) for row in rows]
    first = [min(row.positions) for row in rows]
    tree = PrefixTree([row.tokens for row in rows], first, reads, sharing=sharing)
    return ScoringBatch(base, rows, tree.segments(Step(len(base), range(len(rows)))))


def _tried(engine: Engine, proof: Callable[[], bool]) -> bool:
    try:
        return proof()
    except Exception:  # an engine may refuse in any way
        return False
    finally:
        engine.clear_cache()
