"""What a comparison would take, from a pilot of it: questions, minutes, or a larger margin."""

from collections.abc import Iterator
from dataclasses import dataclass

from pajamas_eval.analysis.comparisons import headlines
from pajamas_eval.analysis.paired import paired
from pajamas_eval.api.metrics import Margin
from pajamas_eval.api.multiple_choice import SOFT_ACCURACY
from pajamas_eval.errors import UsageError
from pajamas_eval.results.document import AnswerSet, Document


@dataclass(frozen=True, slots=True)
class Forecast:
    """One variant on one benchmark, by its first metric, if it loses nothing.

    Attributes:
        pilot: Questions of the pilot that both models answered.
        available: Questions that the benchmark has.
        margin: What is to be certified.
        margin_is_default: Whether it is the metric's own.
        discordance: Share of the pilot's questions that flipped, with Wilson's interval; nothing
            for a metric that is not binary, whose spread counts.
        needed: Questions for the margin, at the discordance or spread seen.
        needed_at_most: At the upper end of its interval.
        needed_soft: Questions for the same margin of soft accuracy, at its spread; nothing where
            the benchmark has no choices.
        smallest_margin: What all the benchmark's questions can certify, in the unit
            of the comparison's difference; nothing where it cannot be told.
        seconds: For the needed questions, variant and baseline together, at the pilot's speed;
            for all of them where they are not enough.
    """

    benchmark: str
    label: str
    pilot: int
    available: int
    margin: Margin
    margin_is_default: bool
    discordance: float | None
    discordance_lower: float | None
    discordance_upper: float | None
    needed: int
    needed_at_most: int
    needed_soft: int | None
    smallest_margin: float | None
    seconds: float

    @property
    def possible(self) -> bool:
        """Whether the benchmark has questions enough, at the discordance or spread seen."""
        return self.needed <= self.available


def forecasts(document: Document, power: float) -> Iterator[Forecast]:
    """A forecast for every variant and benchmark of a pilot, at the pilot's margins.

    Args:
        document: The pilot's result.
        power: Probability that a variant without loss gets the verdict "no worse", in (0, 1).

    Raises:
        UsageError: The pilot says nothing of how far the models differ.
    """
    confidence = document.settings.confidence
    for record in document.benchmarks:
        sets = {answers.label: answers for answers in record.answer_sets}
        for comparison in headlines(document, document.comparisons):
            if comparison.benchmark != record.name or not comparison.count:
                continue
            both = sets[document.baseline], sets[comparison.label]
            pairs = paired(record, record.headline, *both)
            soft = [paired(record, m, *both) for m in record.metrics if m.name == SOFT_ACCURACY]
            margin = comparison.margin
            assert margin is not None
            try:
                needed, at_most = pairs.questions_needed(margin, power, confidence)
                of_soft = [each.questions_needed(margin, power, confidence)[0] for each in soft]
            except ValueError as error:
                raise UsageError(f"{record.name}: {error}; ask more with --limit") from None
            models = (document.baseline, comparison.label)
            taken = sum(_seconds_per_question(sets[label]) for label in models)
            yield Forecast(
                benchmark=record.name,
                label=comparison.label,
                pilot=comparison.count,
                available=record.available,
                margin=margin,
                margin_is_default=comparison.margin_is_default,
                discordance=comparison.flip_rate,
                discordance_lower=comparison.flip_lower,
                discordance_upper=comparison.flip_upper,
                needed=needed,
                needed_at_most=at_most,
                needed_soft=of_soft[0] if of_soft else None,
                smallest_margin=pairs.margin_of(record.available, power, confidence),
                seconds=min(needed, record.available) * taken,
            )


def _seconds_per_question(answers: AnswerSet) -> float:
    """What each answer took when it was computed, be it now or before it was stored."""
    taken = [answer.seconds for answer in answers.answers if answer.error is None]
    return sum(taken) / len(taken) if taken else 0.0
