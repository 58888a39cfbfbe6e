"""A model's file or folder, opened: architecture, vocabulary, tensors; nothing is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as renamed
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pajamas_eval.api.architecture import ArchitectureFacts, Fact
from pajamas_eval.errors import UsageError
from pajamas_eval.identity.vocabulary import (
    TokenizerFile,
    Vocabulary,
    read_tokenizer,
    vocabulary_of_gguf,
)
from pajamas_eval.identity.weights.conventions import as_computed
from pajamas_eval.identity.weights.folder import read_json, read_tensors
from pajamas_eval.identity.weights.gguf_file import read_gguf
from pajamas_eval.identity.weights.names import is_other_part, is_unused, shared_names
from pajamas_eval.identity.weights.tensor import Tensor
from pajamas_eval.tokens.architecture.config import facts_of_config
from pajamas_eval.tokens.architecture.gguf import facts_of_gguf

_ROTARY = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors of a GGUF file that say how positions are scaled: architecture, not weights."""


@dataclass(frozen=True)
class ModelFile:
    """What a file or folder holds.

    Attributes:
        format: `GGUF`, `MLX`, `transformers` or `compressed-tensors`.
        tensors: By their shared names, in the order of the file.
        metadata: Of a GGUF file; of a folder its `config.json`.
        left_out: Tensors that are not the language model's, or that no engine computes with.
    """

    label: str
    path: Path
    format: str
    facts: ArchitectureFacts
    vocabulary: Vocabulary | None
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    left_out: Mapping[str, Tensor]

    @property
    def family(self) -> str:
        """llama.cpp's name of the architecture."""
        return self.facts.family.value if self.facts.family else ""

    @property
    def is_gguf(self) -> bool:
        """Whether its tensors stand as llama.cpp's converter writes them."""
        return self.format == "GGUF"


def open_model(label: str, path: Path) -> ModelFile:
    """Reads what describes a model, and where its tensors lie.

    Raises:
        UsageError: It is no model file or folder, or a broken one, or a library is missing.
    """
    if path.suffix != ".gguf" and not path.is_dir():
        raise UsageError(f"{path} is neither a GGUF file nor a model folder")
    try:
        return _open_folder(label, path) if path.is_dir() else _open_gguf(label, path)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # Anybody may write anything into metadata, such as a word for a number.
        what = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path} does not describe a model that can be read: {what}") from None


def _open_gguf(label: str, path: Path) -> ModelFile:
    content = read_gguf(path)
    tensors = {name: t for name, t in content.tensors.items() if name not in _ROTARY}
    rotary = {name: t.read(0, 1)[0] for name, t in content.tensors.items() if name in _ROTARY}
    facts = facts_of_gguf(
        content.metadata,
        has_head="output.weight" in tensors,
        rope_factors=_first(rotary, "rope_freqs.weight", "rope_factors_long.weight"),
        rope_short_factors=_first(rotary, "rope_factors_short.weight"),
    )
    left_out = {name: content.tensors[name] for name in rotary}
    vocabulary = vocabulary_of_gguf(content.metadata)
    return ModelFile(label, path, "GGUF", facts, vocabulary, tensors, content.metadata, left_out)


def _first(arrays: Mapping[str, Any], *names: str) -> Any:
    return next((arrays[name] for name in names if name in arrays), None)


def _open_folder(label: str, folder: Path) -> ModelFile:
    config_file = folder / "config.json"
    if not config_file.is_file():
        ggufs = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f"; it holds {', '.join(ggufs[:3])}: name that file" if ggufs else ""
        raise UsageError(f"{folder} is not a model folder: it has no config.json{hint}")
    config = read_json(config_file)
    format_name, own = read_tensors(folder, config)
    tokenizer = read_tokenizer(folder)
    facts = _with_tokenizer(facts_of_config(config, tokens=_tokens(tokenizer)), folder, tokenizer)
    kept = {n: t for n, t in own.items() if not (is_unused(n) or is_other_part(n))}
    left_out = {name: tensor for name, tensor in own.items() if name not in kept}
    family = facts.family.value if facts.family else ""
    shared = shared_names(family, kept)
    named = {
        name: renamed(tensor, name=name)
        for name, tensor in zip(map(shared, kept), kept.values(), strict=True)
    }
    return ModelFile(
        label=label,
        path=folder,
        format=format_name,
        facts=facts,
        vocabulary=tokenizer.vocabulary if tokenizer else None,
        tensors=as_computed(format_name, family, named),
        metadata=config,
        left_out=left_out,
    )


def _tokens(tokenizer: TokenizerFile | None) -> int | None:
    return len(tokenizer.vocabulary.texts) if tokenizer else None


def _with_tokenizer(
    facts: ArchitectureFacts, folder: Path, tokenizer: TokenizerFile | None
) -> ArchitectureFacts:
    """The tokenizer's word on its own tokens goes before the configuration's."""
    if tokenizer is None:
        return facts
    known: dict[str, Fact[Any]] = {}
    file = folder / "tokenizer_config.json"
    settings = read_json(file) if file.is_file() else {}
    for name in ("bos", "eos"):
        number = tokenizer.id_of(settings.get(f"{name}_token"))
        if number is not None:
            known[f"{name}_token_id"] = Fact(number, f"tokenizer_config.json: {name}_token")
    if tokenizer.prefix is not None:
        known["prefix"] = Fact(tokenizer.prefix, "tokenizer.json: post_processor")
    return replace(facts, **known)
