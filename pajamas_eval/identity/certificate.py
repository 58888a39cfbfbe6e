"""The certificate: whether two files hold one model, and what tells them apart."""

from enum import StrEnum

import msgspec

from pajamas_eval.api.architecture import FactDifference
from pajamas_eval.identity.contents import Contents
from pajamas_eval.identity.diagnosis import Fault
from pajamas_eval.identity.vocabulary import VocabularyComparison

FORMAT_VERSION = 1


class Outcome(StrEnum):
    """Whether a variant is the base's model."""

    SAME = "same"
    DIFFERS = "differs"
    CANNOT_TELL = "cannot tell"


class TensorFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of both models.

    Attributes:
        layer: Nothing for tensors outside all layers.
        base_type, variant_type: How it is stored; nothing where a model has none.
        values: Compared; nothing of the rest is known where there are none.
        error: Relative root mean square error; `explained` is what both encodings account for.
        largest: Largest error of a single value, over the base's root mean square.
        worst_row: The row that is farthest beyond what its bits explain, and how many times.
        fault: What is wrong with it; nothing where it is the same.
        note: What is to be known though it is the same, such as padding that was cut off.
    """

    name: str
    kind: str
    layer: int | None
    outcome: Outcome
    base_type: str | None = None
    variant_type: str | None = None
    values: int = 0
    error: float | None = None
    explained: float | None = None
    largest: float | None = None
    worst_row: tuple[int, float] | None = None
    fault: Fault | None = None
    note: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A variant against the base.

    Attributes:
        facts: Differences of architecture.
        compared_facts: Values of the architecture that are known of both.
        unknown_facts: Fields known of one of the two only.
        vocabulary: Nothing where one has no list of tokens that can be read.
        tensors: All, also those that are the same.
        notes: What else is to be known.
    """

    base: str
    variant: str
    outcome: Outcome
    facts: tuple[FactDifference, ...]
    compared_facts: int
    unknown_facts: tuple[str, ...]
    vocabulary: VocabularyComparison | None
    tensors: tuple[TensorFinding, ...]
    notes: tuple[str, ...] = ()

    @property
    def faults(self) -> list[TensorFinding]:
        """Tensors that are not the same, or of which that cannot be told."""
        return [finding for finding in self.tensors if finding.outcome is not Outcome.SAME]


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found: the base's contents first."""

    format_version: int = FORMAT_VERSION
    models: tuple[Contents, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """That of the worst variant."""
        outcomes = {comparison.outcome for comparison in self.comparisons}
        for outcome in (Outcome.DIFFERS, Outcome.CANNOT_TELL):
            if outcome in outcomes:
                return outcome
        return Outcome.SAME


def encode(certificate: Certificate) -> bytes:
    """The certificate as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(certificate), indent=1) + b"\n"
