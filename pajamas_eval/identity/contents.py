"""What is inside a model's file: bytes and parameters by type, layer and kind, and who made it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.identity.model_file import ModelFile
from pajamas_eval.identity.weights.names import KIND_ORDER, kind_of, layer_of
from pajamas_eval.identity.weights.tensor import Tensor


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a model's tensors, taken together.

    Attributes:
        name: What they have in common: a type, a kind, or layers such as `0–29`.
        types: Parameters by type, most first.
    """

    name: str
    tensors: int
    parameters: int
    bytes: int
    types: dict[str, int]

    @property
    def bits_per_weight(self) -> float:
        """Stored bits of a parameter, scales and offsets included."""
        return 8 * self.bytes / max(self.parameters, 1)


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is inside a model's file or folder.

    Attributes:
        stated_type: What the file says it is, such as `Q4_K_M`; empty where it does not.
        maker: What its metadata say of its origin, by key.
        importance_matrix: What they say of the importance matrix it was quantized with, by key.
        kinds, layers: Those of the language model; tensors outside all layers are in `kinds` only.
        left_out: Tensors of other parts, or that no engine computes with.
        notes: What is odd about it.
    """

    label: str
    path: str
    format: str
    stated_type: str
    maker: dict[str, str]
    importance_matrix: dict[str, str]
    parameters: int
    bytes: int
    types: tuple[Share, ...]
    kinds: tuple[Share, ...]
    layers: tuple[Share, ...]
    left_out: Share
    facts: ArchitectureFacts
    notes: tuple[str, ...]

    @property
    def bits_per_weight(self) -> float:
        """Of the language model."""
        return 8 * self.bytes / max(self.parameters, 1)


_MAKER = (
    "general.name",
    "general.author",
    "general.organization",
    "general.quantized_by",
    "general.repo_url",
    "general.source.url",
    "general.source.huggingface.repository",
    "general.license",
)
_MATRIX = "quantize.imatrix."


def contents_of(model: ModelFile) -> Contents:
    """Adds up what `open_model` found; no values are read."""
    tensors = list(model.tensors.values())
    types = _shares(tensors, lambda t: t.encoding_name)
    kinds = _shares(tensors, lambda t: kind_of(t.name))
    kinds.sort(key=lambda share: KIND_ORDER.index(share.name))
    stated = _stated_type(model)
    return Contents(
        label=model.label,
        path=str(model.path),
        format=model.format,
        stated_type=stated,
        maker={key: str(model.metadata[key]) for key in _MAKER if model.metadata.get(key)},
        importance_matrix={
            key.removeprefix(_MATRIX): str(value)
            for key, value in model.metadata.items()
            if key.startswith(_MATRIX)
        },
        parameters=sum(tensor.parameters for tensor in tensors),
        bytes=sum(tensor.stored_bytes for tensor in tensors),
        types=tuple(sorted(types, key=lambda share: -share.parameters)),
        kinds=tuple(kinds),
        layers=tuple(_layers(tensors)),
        left_out=_share("left out", list(model.left_out.values())),
        facts=model.facts,
        notes=tuple(_notes(stated, types, tensors)),
    )


def _shares(tensors: Iterable[Tensor], key: Any) -> list[Share]:
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(key(tensor), []).append(tensor)
    return [_share(name, group) for name, group in groups.items()]


def _share(name: str, tensors: Sequence[Tensor]) -> Share:
    types: dict[str, int] = {}
    for tensor in tensors:
        types[tensor.encoding_name] = types.get(tensor.encoding_name, 0) + tensor.parameters
    return Share(
        name=name,
        tensors=len(tensors),
        parameters=sum(tensor.parameters for tensor in tensors),
        bytes=sum(tensor.stored_bytes for tensor in tensors),
        types=dict(sorted(types.items(), key=lambda item: -item[1])),
    )


def _layers(tensors: Iterable[Tensor]) -> list[Share]:
    """Neighbouring layers that are stored alike stand in one row."""
    by_layer: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        if (layer := layer_of(tensor.name)) is not None:
            by_layer.setdefault(layer, []).append(tensor)
    runs: list[list[int]] = []
    stored: Mapping[str, str] = {}
    for layer in sorted(by_layer):
        parts = {t.name.partition(f".{layer}.")[2]: t.encoding_name for t in by_layer[layer]}
        if runs and parts == stored:
            runs[-1].append(layer)
        else:
            runs.append([layer])
        stored = parts
    return [
        _share(
            f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}",
            [tensor for layer in run for tensor in by_layer[layer]],
        )
        for run in runs
    ]


def _stated_type(model: ModelFile) -> str:
    if not model.is_gguf:
        return ""
    number = model.metadata.get("general.file_type", -1)
    from gguf import LlamaFileType

    try:
        name = LlamaFileType(number).name
    except ValueError:
        return ""
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _notes(stated: str, types: Iterable[Share], tensors: Iterable[Tensor]) -> Iterable[str]:
    held = {share.name: share.parameters for share in types}
    promised = re.sub(r"_[SML]$|_XL$", "", stated)
    if promised and promised != "GUESSED" and promised not in held:
        total = sum(held.values())
        shares = sorted(held.items(), key=lambda item: -item[1])
        said = ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in shares)
        yield f"it calls itself {stated} and holds no {promised} at all: {said}"
    faults = [fault for tensor in tensors for fault in tensor.faults]
    for fault in dict.fromkeys(faults):
        yield f"{fault} ({faults.count(fault)} tensors)"
