"""Proofs at load find each way in which a model may not be what scoring and generating rely on."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from fake_runtime import FakeRuntime

from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.proofs import GENERATES_ALONE, SCORES_ALONE
from pajamas_eval.tokens.scoring import ScoringBatch


class Faulty(FakeRuntime):
    """Moves log-probabilities by `nats` where `fault` is given."""

    fault, nats = "", 0.5

    def score(self, batch: ScoringBatch) -> int:
        ran = super().score(batch)
        for row in batch.rows:
            if self.fault == "later":
                after = [row.tokens[place + 1 :].sum() for place in row.positions]
                row.log_probabilities = row.log_probabilities + self.nats * np.sin(after)
            beside = self.fault == "beside" and len(batch.rows) > 1
            if beside or (self.fault == "base" and len(batch.base)):
                row.log_probabilities = row.log_probabilities + self.nats
            if self.fault == "not numbers":
                row.log_probabilities = np.full(len(row.positions), np.nan)
        if self.fault == "memory":
            raise OutOfMemoryError("no room")
        if self.fault == "crash":
            raise RuntimeError("cannot\nat all")
        if self.fault == "refuses bases" and len(batch.base):
            raise RuntimeError("what is a base?")
        return ran

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        yield from super().generate(generations)
        shared = bool(len(self.shared_prompt(generations)))
        wrong = {"shared texts": shared, "texts beside": len(generations) > 1}
        for generation in generations:
            if wrong.get(self.fault) and generation.logits is not None:
                generation.logits[-1] += self.nats
        if self.fault == "no texts":
            raise RuntimeError("it does not generate")


def tried(fault: str, nats: float = 0.5, **options: object) -> tuple[Faulty, tuple[str, ...]]:
    runtime = Faulty(**options)  # type: ignore[arg-type]
    runtime.fault, runtime.nats = fault, nats
    return runtime, runtime.prove()


def state(runtime: Faulty) -> tuple[bool, bool, bool, bool]:
    together = runtime.budget.rows > 1, runtime.batch_sequences > 1
    return runtime.shares_prefix, together[0], runtime.shares_prompts, together[1]


def test_a_model_without_fault_is_run_in_every_way() -> None:
    runtime, notes = tried("")
    assert (state(runtime), notes) == ((True,) * 4, ())


@pytest.mark.parametrize(
    ("fault", "expected", "notes"),
    [
        ("base", (False, True, True, True), ()),
        ("refuses bases", (False, True, True, True), ()),
        ("beside", (False, False, True, True), (SCORES_ALONE,)),
        ("shared texts", (True, True, False, True), ()),
        ("texts beside", (True, True, False, False), (GENERATES_ALONE,)),
        ("no texts", (True, True, False, True), ()),
        ("not numbers", (False, True, False, True), ()),
    ],
)
def test_what_does_not_hold_is_not_done(
    fault: str, expected: tuple[bool, ...], notes: tuple[str, ...]
) -> None:
    runtime, said = tried(fault)
    assert (state(runtime), said) == (expected, notes)


@pytest.mark.parametrize("fault", ["base", "beside", "shared texts", "texts beside"])
def test_rounding_is_no_fault(fault: str) -> None:
    runtime, notes = tried(fault, nats=0.02)
    assert (state(runtime), notes) == ((True,) * 4, ())


def test_a_cache_that_cannot_be_shared_is_not_tried() -> None:
    runtime = FakeRuntime()
    assert runtime.prove(can_share=False) == ()
    assert not runtime.shares_prefix
    assert not runtime.shares_prompts


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("nats", [1.5, 5.0])
def test_a_model_that_sees_later_tokens_is_refused(nats: float, exact: bool) -> None:
    with pytest.raises(UsageError, match="is not a causal language model: later tokens change"):
        tried("later", nats, exact=exact)


def test_an_exact_run_needs_no_more_than_that() -> None:
    runtime, notes = tried("beside", exact=True)
    assert notes == ()
    assert len(runtime.scored) == 1


def test_what_cannot_be_run_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"cannot be run: cannot$"):
        tried("crash")


def test_a_lack_of_memory_is_no_fault_of_the_model() -> None:
    with pytest.raises(OutOfMemoryError):
        tried("memory")
