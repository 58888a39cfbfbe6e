"""Compares two models' files: architecture, then vocabulary, then weights tensor by tensor."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from pajamas_eval.api.architecture import FactDifference
from pajamas_eval.identity.certificate import Comparison, Outcome, TensorFinding
from pajamas_eval.identity.diagnosis import Fault, FaultKind, Models, diagnose, diagnose_shapes
from pajamas_eval.identity.facts import compare_facts
from pajamas_eval.identity.measure import Measured, measure
from pajamas_eval.identity.model_file import ModelFile
from pajamas_eval.identity.vocabulary import VocabularyComparison, compare_vocabularies
from pajamas_eval.identity.weights.conventions import KNOWN, as_in_gguf, unfused
from pajamas_eval.identity.weights.names import kind_of, layer_of
from pajamas_eval.identity.weights.tensor import Tensor

_HEAD, _EMBEDDING = "output.weight", "token_embd.weight"

Progress = Callable[[int, int], None]
"""Called with the tensors that are done and all there are."""


def compare_models(
    base: ModelFile, variant: ModelFile, progress: Progress = lambda done, total: None
) -> Comparison:
    """The certificate of one variant; memory is that of one tensor's part.

    Raises:
        UsageError: A library that one of the formats needs is missing.
    """
    found = compare_facts(base.facts, variant.facts)
    tensors, notes = _Weights(base, variant).findings(progress)
    facts = _settled(found.differences, tensors)
    vocabulary = None
    if base.vocabulary and variant.vocabulary:
        vocabulary = compare_vocabularies(base.vocabulary, variant.vocabulary)
    else:
        notes.append("the tokens could not be compared: one has no tokenizer.json")
    return Comparison(
        base=base.label,
        variant=variant.label,
        outcome=_overall(facts, vocabulary, tensors),
        facts=facts,
        compared_facts=found.compared,
        unknown_facts=tuple(name for name in found.unknown if name not in _LEFT_TO_WEIGHTS),
        vocabulary=vocabulary,
        tensors=tensors,
        notes=tuple(notes),
    )


_WORDS_OF_HEADS = (FaultKind.UNRELATED, FaultKind.WORSE, FaultKind.ANOTHER)
"""Faults of a head that may come from where it is taken from."""

_LEFT_TO_WEIGHTS = ("tied_head",)
"""Facts that the comparison of weights answers in any case."""


def _settled(
    differences: tuple[FactDifference, ...], tensors: tuple[TensorFinding, ...]
) -> tuple[FactDifference, ...]:
    """A head that is written out though it equals the embedding is no difference."""
    head = next((t for t in tensors if t.name == _HEAD), None)
    same = head is not None and head.outcome is Outcome.SAME
    return tuple(d for d in differences if not (same and d.name in _LEFT_TO_WEIGHTS))


def _overall(
    facts: tuple[FactDifference, ...],
    vocabulary: VocabularyComparison | None,
    tensors: tuple[TensorFinding, ...],
) -> Outcome:
    outcomes = {tensor.outcome for tensor in tensors}
    if any(fact.affects_answers for fact in facts) or (vocabulary and vocabulary.different):
        return Outcome.DIFFERS
    for outcome in (Outcome.DIFFERS, Outcome.CANNOT_TELL):
        if outcome in outcomes:
            return outcome
    return Outcome.SAME


@dataclass(frozen=True)
class _Arranged:
    """A model's tensors with its head, and whether that is the embedding."""

    tensors: Mapping[str, Tensor]
    head_is_embedding: bool


class _Weights:
    def __init__(self, base: ModelFile, variant: ModelFile) -> None:
        self._base_model, self._variant_model = base, variant
        mixed = base.is_gguf != variant.is_gguf
        family = (base if base.is_gguf else variant).family
        self._known = not mixed or family in KNOWN
        arranged = []
        for model in (base, variant):
            tensors = dict(model.tensors)
            if mixed and not model.is_gguf:
                tensors = as_in_gguf(family, model.facts, tensors)
            arranged.append(_with_head(model, tensors))
        base_tensors, variant_tensors = arranged[0].tensors, arranged[1].tensors
        self._models = Models(
            unfused(base_tensors, variant_tensors),
            unfused(variant_tensors, base_tensors),
            base.facts if base.facts.heads else variant.facts,
        )
        self._both_tied = all(model.head_is_embedding for model in arranged)

    def findings(self, progress: Progress) -> tuple[tuple[TensorFinding, ...], list[str]]:
        """One for each tensor of either model, in the base's order, and notes."""
        base, variant = self._models.base, self._models.variant
        names = [*base, *(name for name in variant if name not in base)]
        if self._both_tied:
            names.remove(_HEAD)
        found = []
        for done, name in enumerate(names):
            found.append(self._finding(name))
            progress(done + 1, len(names))
        notes = [] if self._known else [self._unknown_note()]
        return tuple(found), notes

    def _unknown_note(self) -> str:
        return (
            f"how llama.cpp's converter rearranges tensors of {self._variant_model.family} is not "
            "known here: what does not match may be the same all the same"
        )

    def _finding(self, name: str) -> TensorFinding:
        base, variant = self._models.base.get(name), self._models.variant.get(name)
        finding = TensorFinding(
            name=name,
            kind=kind_of(name),
            layer=layer_of(name),
            outcome=Outcome.SAME,
            base_type=base.encoding_name if base else None,
            variant_type=variant.encoding_name if variant else None,
        )
        if base is None or variant is None:
            return self._alone(finding, base or variant)
        if refused := base.refused or variant.refused:
            fault = Fault(FaultKind.UNREADABLE, refused)
            outcome = Outcome.DIFFERS if variant.faults else Outcome.CANNOT_TELL
            if variant.faults:
                fault = Fault(FaultKind.PACKING, variant.faults[0])
            return replace(finding, outcome=outcome, fault=fault)
        if base.shape != variant.shape and not _is_padding(name, base, variant):
            return self._faulty(finding, diagnose_shapes(base, variant))
        try:
            measured = measure(base, variant)
        except (ValueError, TypeError, RuntimeError) as error:  # of the libraries that unpack
            fault = Fault(FaultKind.UNREADABLE, str(error).partition("\n")[0])
            return replace(finding, outcome=Outcome.CANNOT_TELL, fault=fault)
        finding = _with_measures(finding, measured)
        if base.rows != variant.rows:
            finding = self._padded(finding, base, variant)
        if not measured.is_same:
            finding = self._faulty(finding, diagnose(name, self._models, measured))
        elif variant.faults:
            finding = replace(
                finding,
                outcome=Outcome.DIFFERS,
                fault=Fault(FaultKind.PACKING, variant.faults[0]),
            )
        return finding

    def _alone(self, finding: TensorFinding, tensor: Tensor | None) -> TensorFinding:
        missing = finding.variant_type is None
        if not missing and tensor and finding.kind == "biases" and _is_zero(tensor):
            return replace(finding, note="a bias of nothing but zeros, which adds nothing")
        kind = FaultKind.MISSING if missing else FaultKind.EXTRA
        where = "the base has it" if missing else "the base has none"
        if finding.name == _HEAD and missing and not self._says_tied(self._variant_model):
            where = "its config.json says that the head is not tied, and there is no lm_head.weight"
        return self._faulty(finding, Fault(kind, where))

    def _says_tied(self, model: ModelFile) -> bool:
        tied = model.facts.tied_head
        return tied is not None and tied.value

    def _faulty(self, finding: TensorFinding, fault: Fault) -> TensorFinding:
        if finding.name == _HEAD and fault.kind in _WORDS_OF_HEADS:
            fault = Fault(fault.kind, fault.detail + self._head_words())
        outcome = Outcome.DIFFERS if self._known else Outcome.CANNOT_TELL
        return replace(finding, outcome=outcome, fault=fault)

    def _head_words(self) -> str:
        base, variant = (
            _with_head(model, dict(model.tensors)).head_is_embedding
            for model in (self._base_model, self._variant_model)
        )
        if base == variant:
            return ""
        return (
            "; the base's head is its embedding, here it is a matrix of its own"
            if base
            else "; the base has a head of its own, here it is the embedding"
        )

    def _padded(self, finding: TensorFinding, base: Tensor, variant: Tensor) -> TensorFinding:
        """Rows that only one has: padding, unless the base's tokenizer has tokens for them."""
        fewer, more = sorted((base.rows, variant.rows))
        tokens = self._base_model.facts.vocabulary
        if tokens and variant.rows < tokens.value:
            detail = f"{variant.rows:,} rows for the base's {tokens.value:,} tokens"
            return self._faulty(finding, Fault(FaultKind.SHAPE, detail))
        what = "cut off" if variant.rows < base.rows else "added"
        return replace(finding, note=f"{more - fewer:,} rows of padding {what}")


def _with_head(model: ModelFile, tensors: dict[str, Tensor]) -> _Arranged:
    """The head that the model computes with, under its own name in any case.

    Of a folder its configuration says whether that is the embedding; a head that is stored besides
    is not used then.
    """
    tied = model.facts.tied_head
    uses_embedding = tied.value if tied is not None else _HEAD not in tensors
    if uses_embedding and _EMBEDDING in tensors:
        return _Arranged({**tensors, _HEAD: tensors[_EMBEDDING]}, True)
    return _Arranged(tensors, False)


def _is_padding(name: str, base: Tensor, variant: Tensor) -> bool:
    """Whether two shapes differ in nothing but the number of tokens."""
    by_token = re.fullmatch(r"(?:token_embd|output)\.(?:weight|bias)", name) is not None
    return by_token and len(base.shape) == 2 and base.shape[1:] == variant.shape[1:]


def _is_zero(tensor: Tensor) -> bool:
    return not any(np.any(tensor.read(a, b)) for a, b in tensor.chunks(tensor.rows))


def _with_measures(finding: TensorFinding, measured: Measured) -> TensorFinding:
    row = int(measured.row_ratios.argmax()) if len(measured.row_ratios) else 0
    return replace(
        finding,
        values=measured.values,
        error=measured.error,
        explained=measured.explained,
        largest=measured.largest,
        worst_row=(row, float(measured.row_ratios[row])),
    )
