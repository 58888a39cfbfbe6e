"""The tokens of a model by id, and where two models' differ."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pajamas_eval.errors import UsageError

_CONTROL, _USER_DEFINED, _UNKNOWN = 3, 4, 2
_UNUSED = 5
"""Types of tokens in a GGUF file (llama.cpp, `llama_token_type`)."""

SHOWN = 5
"""Differing tokens that are named; all are counted."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id.

    Attributes:
        texts: As the tokenizer stores them; nothing for an id without a token, such as padding.
        whole: Ids that are found in a text as a whole, before it is cut into pieces.
        either: Ids of which a file does not tell whether they are.
        source: Where it was read.
    """

    texts: tuple[str | None, ...]
    whole: frozenset[int]
    either: frozenset[int]
    source: str


class TokenDifference(msgspec.Struct, frozen=True, kw_only=True):
    """An id that means something else in the variant; a text is nothing where there is none."""

    id: int
    base: str | None
    variant: str | None
    what: str


class VocabularyComparison(msgspec.Struct, frozen=True, kw_only=True):
    """How two vocabularies differ.

    Attributes:
        compared: Ids that at least one has a token for.
        different: How many of them differ.
        first: The first few of those.
    """

    compared: int
    different: int
    first: tuple[TokenDifference, ...]


def vocabulary_of_gguf(metadata: Mapping[str, Any]) -> Vocabulary | None:
    """That of GGUF metadata, if they have one."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    types = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list):
        return None
    kinds: Sequence[int] = types if isinstance(types, list) else ()
    padding = {i for i, kind in enumerate(kinds) if kind == _UNUSED and _is_padding(i, tokens[i])}
    return Vocabulary(
        texts=tuple(None if i in padding else text for i, text in enumerate(tokens)),
        whole=frozenset(i for i, k in enumerate(kinds) if k in (_CONTROL, _USER_DEFINED)),
        either=frozenset(i for i, k in enumerate(kinds) if k in (_UNKNOWN, _UNUSED)) - padding,
        source="tokenizer.ggml.tokens",
    )


def _is_padding(number: int, text: str) -> bool:
    """Whether it is the name that llama.cpp's converter gives to a row without a token."""
    return text == f"[PAD{number}]"


@dataclass(frozen=True)
class TokenizerFile:
    """What `tokenizer.json` says.

    Attributes:
        prefix: Tokens put in front of a text; nothing where it cannot be told.
    """

    vocabulary: Vocabulary
    prefix: tuple[int, ...] | None

    def id_of(self, text: object) -> int | None:
        """The id of a token."""
        if isinstance(text, Mapping):
            text = text.get("content")
        texts = self.vocabulary.texts
        return texts.index(text) if isinstance(text, str) and text in texts else None


def read_tokenizer(folder: Path) -> TokenizerFile | None:
    """A folder's tokenizer, if it has a `tokenizer.json`. Raises `UsageError`."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        by_id, added = _tokens(content)
        texts = tuple(by_id.get(i) for i in range(max(by_id, default=-1) + 1))
        vocabulary = Vocabulary(texts, frozenset(added), frozenset(), "tokenizer.json")
        return TokenizerFile(vocabulary, _prefix(content.get("post_processor"), by_id))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file} is not a readable tokenizer: {error}") from None


def _tokens(content: Mapping[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    """Texts by id, and those of added tokens apart."""
    vocab = content["model"]["vocab"]
    if isinstance(vocab, Mapping):
        by_id = {int(number): text for text, number in vocab.items()}
    else:  # pairs of a text and a score, in order
        by_id = {number: piece[0] for number, piece in enumerate(vocab)}
    added = {int(t["id"]): t["content"] for t in content.get("added_tokens") or ()}
    return by_id | added, added


def _prefix(processor: Any, by_id: Mapping[int, str]) -> tuple[int, ...] | None:
    if processor is None:
        return ()
    if processor["type"] == "Sequence":
        found = [_prefix(part, by_id) for part in processor["processors"]]
        known = [part for part in found if part is not None]
        return sum(known, ()) if len(known) == len(found) else None
    if processor["type"] == "ByteLevel":
        return ()
    if processor["type"] != "TemplateProcessing":
        return None
    prefix: list[int] = []
    for part in processor["single"]:
        if "SpecialToken" not in part:
            break
        prefix += processor["special_tokens"][part["SpecialToken"]["id"]]["ids"]
    return tuple(prefix)


def compare_vocabularies(base: Vocabulary, variant: Vocabulary) -> VocabularyComparison:
    """Compares texts by id, and whether a token is found as a whole."""
    count = max(len(base.texts), len(variant.texts))
    compared, differences = 0, []
    for number in range(count):
        a, b = _text(base, number), _text(variant, number)
        compared += a is not None or b is not None
        if what := _difference(base, variant, number, a, b):
            differences.append(TokenDifference(id=number, base=a, variant=b, what=what))
    return VocabularyComparison(
        compared=compared, different=len(differences), first=tuple(differences[:SHOWN])
    )


def _text(vocabulary: Vocabulary, number: int) -> str | None:
    return vocabulary.texts[number] if number < len(vocabulary.texts) else None


def _difference(
    base: Vocabulary, variant: Vocabulary, number: int, a: str | None, b: str | None
) -> str:
    """What an id means in one and not in the other; nothing where it is the same."""
    unused = number in base.either or number in variant.either
    if a is None or b is None:
        if a == b or unused:
            return ""
        if a is not None:
            return "is lost in the variant"
        padding = _is_padding(number, b or "")
        return "is a row of padding, read as a token" if padding else "is in the variant only"
    if a != b and a.replace("▁", " ") != b.replace("▁", " "):
        return "is another token in the variant"
    if unused or (number in base.whole) == (number in variant.whole):
        return ""
    if number in base.whole:
        return "is no longer found as a whole in the variant: a text that has it is cut into pieces"
    return "is found as a whole in the variant only"
