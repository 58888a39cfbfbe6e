"""Results and gates made by hand, for the tests of the gate."""

import math
from collections.abc import Sequence

from handmade import answer_set, choices, document

from pajamas_eval.gate.config import BenchmarkGate, Gate
from pajamas_eval.gate.findings import Finding
from pajamas_eval.gate.judge import judge
from pajamas_eval.results.document import AnswerSet, Document

KNOWLEDGE = "pajamas_knowledge"


def pair(
    count: int,
    *,
    gains: int = 0,
    losses: int = 0,
    unanswered: int = 0,
    right: int | None = None,
    kl: Sequence[float] = (),
) -> Document:
    """A baseline and a variant, `q4`, on one benchmark.

    Args:
        count: Questions that both answered.
        gains, losses: Among these.
        unanswered: Questions in addition, on which the variant failed.
        right: Questions the baseline has right; all but the gains by default.
        kl: Divergence of the first questions over two choices; the rest have none.
    """
    ids = [f"q{i}" for i in range(count + unanswered)]
    known = count - gains if right is None else right
    base: dict[str, float | str] = {d: float(i < known) for i, d in enumerate(ids)}
    variant = base | dict.fromkeys(ids[:losses], 0.0) | dict.fromkeys(ids[known:][:gains], 1.0)
    variant |= dict.fromkeys(ids[count:], "no room")
    sets = [answer_set("base", base), answer_set("q4", variant)]
    diverge(sets, kl)
    made = document(sets, available=10_000)
    made.benchmarks[0].name = KNOWLEDGE
    return made


def diverge(sets: Sequence[AnswerSet], kl: Sequence[float]) -> None:
    """Gives the first questions two choices: even odds, and odds that diverge by so many nats."""
    for ours, theirs, nats in zip(sets[0].answers, sets[1].answers, kl, strict=False):
        ours.parts = choices(math.log(0.5), math.log(0.5))
        # KL = −½ log(4q(1 − q)), so 4q(1 − q) = exp(−2 KL)
        q = (1 + math.sqrt(1 - math.exp(-2 * nats))) / 2
        theirs.parts = choices(math.log(q), math.log(1 - q))


def on_knowledge(**required: object) -> Gate:
    return Gate(benchmarks={KNOWLEDGE: BenchmarkGate(**required)})  # type: ignore[arg-type]


def only(made: Document, gate: Gate) -> Finding:
    """The one finding."""
    (finding,) = judge(made, gate)
    return finding
