"""What a comparison would take, from a pilot of it: questions, minutes, or a larger margin."""

from collections.abc import Iterator
from dataclasses import dataclass

from pajamas_eval.results.document import BenchmarkRecord, Document
from pajamas_eval.statistics.planning import questions_needed, smallest_margin


@dataclass(frozen=True, slots=True)
class Forecast:
    """One variant on one benchmark, by its first metric, if it loses nothing.

    Attributes:
        pilot: Questions of the pilot that both models answered.
        available: Questions that the benchmark has.
        discordance: Share of the pilot's questions that flipped; with Wilson's interval.
        needed: Questions for the margin, at the discordance seen.
        needed_at_most: At the upper end of its interval.
        smallest_margin: What all the benchmark's questions can certify, as a proportion.
        seconds: For the needed questions, variant and baseline together, at the pilot's speed;
            for all of them where they are not enough.
    """

    benchmark: str
    label: str
    pilot: int
    available: int
    discordance: float
    discordance_lower: float
    discordance_upper: float
    needed: int
    needed_at_most: int
    smallest_margin: float
    seconds: float

    @property
    def possible(self) -> bool:
        """Whether the benchmark has questions enough, at the discordance seen."""
        return self.needed <= self.available


def forecasts(document: Document, margin: float, power: float) -> Iterator[Forecast]:
    """A forecast for every variant and benchmark of a pilot.

    Args:
        document: The pilot's result.
        margin: Loss that a variant may have, as a proportion.
        power: Probability that a variant without loss gets the verdict "no worse", in (0, 1).
    """
    confidence = document.settings.confidence
    for record in document.benchmarks:
        for comparison in document.comparisons:
            at_home = (comparison.benchmark, comparison.metric) == (record.name, record.metrics[0])
            if not at_home or not comparison.count:
                continue
            needed, at_most = (
                questions_needed(margin, rate, power, confidence)
                for rate in (comparison.flip_rate, comparison.flip_upper)
            )
            yield Forecast(
                benchmark=record.name,
                label=comparison.label,
                pilot=comparison.count,
                available=record.available,
                discordance=comparison.flip_rate,
                discordance_lower=comparison.flip_lower,
                discordance_upper=comparison.flip_upper,
                needed=needed,
                needed_at_most=at_most,
                smallest_margin=smallest_margin(
                    record.available, comparison.flip_rate, power, confidence
                ),
                seconds=min(needed, record.available)
                * sum(
                    _seconds_per_question(record, label)
                    for label in (document.baseline, comparison.label)
                ),
            )


def _seconds_per_question(record: BenchmarkRecord, label: str) -> float:
    """What each answer took when it was computed, be it now or before it was stored."""
    answers = next(a for a in record.answer_sets if a.label == label).answers
    taken = [answer.seconds for answer in answers if answer.error is None]
    return sum(taken) / len(taken) if taken else 0.0
