"""What the adapters of transformers and MLX share: a model folder and its tokenizer."""

import json
import logging
import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pajamas_eval.api.architecture import ArchitectureFacts, Fact
from pajamas_eval.api.digest import digest_of, model_files
from pajamas_eval.api.safetensors import read_header
from pajamas_eval.errors import MissingEngineError, UsageError
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.token_runtime import TokenRuntime

UNKNOWN_CONTEXT_LENGTH = 2048
"""Tokens, where neither model nor tokenizer nor user names a limit (lm-eval's default)."""

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
_PICKLES = ("*.bin", "*.pt", "*.pth")
_TOKENIZERS = ("*token*", "*vocab*", "*merges*", "*.model", "tekken*", "*.py")
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")
_NO_LIMIT = 10**9
"""Tokenizers without a limit state an astronomical one."""


class FolderRuntime(TokenRuntime):
    """A folder with `config.json`, a tokenizer and weights, or a hub id that names one."""

    def __init__(self, options: TokenOptions) -> None:
        super().__init__(options)
        self.engine()  # names the missing package before anything else fails for want of it
        self.folder = self._local_folder()
        self._refuse_adapters()
        self.config = read_config(self.folder / "config.json")
        self._refuse_missing_weights()
        self._refuse_code()
        _silence_transformers()
        self._refuse_unusable()
        self.tokenizer = self._read_tokenizer()
        text_config = self.config.get("text_config") or {}
        lengths = [c[k] for c in (self.config, text_config) for k in _CONTEXT_KEYS if c.get(k)]
        limit = self.tokenizer.model_max_length
        lengths += [limit] if limit and limit < _NO_LIMIT else []
        unknown = options.n_ctx or UNKNOWN_CONTEXT_LENGTH
        self.native_context_length = lengths[0] if lengths else unknown
        self.bos_token_id = self.tokenizer.bos_token_id
        self.bos_token = self.tokenizer.bos_token or ""
        self.eos_token = self.tokenizer.eos_token or ""
        self.eos_token_ids = self._end_tokens()
        self.default_prefix = self._default_prefix()
        template = self.tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        self.chat_template = template if isinstance(template, str) else None

    @abstractmethod
    def score(self, rows: Any) -> None:
        """Left to the engine."""

    @abstractmethod
    def _refuse_unusable(self) -> None:
        """Raises `UsageError` for what the engine cannot load; no weights are read."""

    @property
    def files(self) -> list[Path]:
        """The weight files, without copies of them in other layouts and without adapters."""
        index = self.folder / "model.safetensors.index.json"
        if index.is_file():
            named = set(read_config(index).get("weight_map", {}).values())
            return sorted(self.folder / str(name) for name in named)
        for pattern in ("model.safetensors", "model*.safetensors", "*.safetensors", *_PICKLES):
            if found := sorted(self.folder.glob(pattern)):
                return found
        return []

    def with_tokens(self, facts: ArchitectureFacts) -> ArchitectureFacts:
        """An architecture with the ids that the tokenizer has, whatever a configuration names."""
        ids = {"bos_token_id": self.bos_token_id, "eos_token_id": self.tokenizer.eos_token_id}
        known = {k: Fact(v, "tokenizer") for k, v in ids.items() if v is not None}
        return msgspec.structs.replace(facts, **known)

    def digest(self) -> str:
        """Digest of the folder's content."""
        return digest_of(model_files(self.folder))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text; special tokens named in it are recognised."""
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        return encoded

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """Text of the tokens."""
        text: str = self.tokenizer.decode(
            list(tokens),
            skip_special_tokens=not keep_special,
            clean_up_tokenization_spaces=False,
        )
        return text

    def _local_folder(self) -> Path:
        """The folder itself, or the local copy of a hub id's, downloaded if need be."""
        path = self.options.path
        if Path(path).is_dir():
            return Path(path)
        if Path(path).exists():
            raise UsageError(
                f"{path} is a file; the {self.name} runtime takes a model folder or a hub id"
            )
        try:
            from huggingface_hub import snapshot_download

            patterns = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]
            patterns += _PICKLES if self.options.allow_pickle else ()
            return Path(snapshot_download(path, allow_patterns=patterns))
        except Exception as error:  # no network, no such repository, no permission
            raise UsageError(
                f"cannot get {path} from the Hugging Face hub, and there is no such folder here: "
                f"{first_line(error)}"
            ) from None

    def _refuse_adapters(self) -> None:
        # transformers would fetch the base from wherever the adapter says, unknown to the digest.
        if (self.folder / "adapter_config.json").exists():
            raise UsageError(
                f"{self.folder} holds an adapter (adapter_config.json), whose base lies elsewhere; "
                "merge the two into one model first"
            )

    def _refuse_missing_weights(self) -> None:
        if not self.files:
            raise UsageError(f"{self.folder} holds no weights: there is no .safetensors file in it")
        self._refuse_weights_elsewhere()
        for file in self.files:
            for part in _parts(file):
                if not part.is_file():
                    raise UsageError(
                        f"{self.folder} lacks {part.name}, a part of its weights; download it again"
                    )
            if file.suffix == ".safetensors":
                read_header(file)
            elif not self.options.allow_pickle:
                raise UsageError(
                    f"{self.folder} holds its weights as Python pickles ({file.name}), which "
                    "can run code when loaded; if you trust them: "
                    f"{self.name}[path=…,allow_pickle=true]"
                )

    def _refuse_weights_elsewhere(self) -> None:
        """An index may name any path; what the digest leaves out must not be loaded."""
        known = set(model_files(self.folder))
        for index in sorted(self.folder.glob("*.index.json")):
            for name in sorted(map(str, read_config(index).get("weight_map", {}).values())):
                if (file := self.folder / name).is_file() and file not in known:
                    raise UsageError(
                        f"{index} names {name}, which does not lie beside it as a plain weight "
                        "file; put it there and name it so"
                    )

    def _refuse_code(self) -> None:
        brings_code = self.config.get("auto_map") and any(self.folder.glob("*.py"))
        if brings_code and not self.options.trust_remote_code:
            raise UsageError(
                f"{self.folder} brings Python code of its own; if you trust it: "
                f"{self.name}[path=…,trust_remote_code=true]"
            )

    def _read_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(
                self.folder, trust_remote_code=self.options.trust_remote_code
            )
        except Exception as error:  # transformers raises many kinds for a broken tokenizer
            is_there = any(any(self.folder.glob(name)) for name in _TOKENIZERS)
            why = first_line(error) if is_there else "there is none"
            raise UsageError(
                f"{self.folder} has no tokenizer that transformers can load: {why}; copy "
                "tokenizer.json and its like from the original model into it"
            ) from None

    def _end_tokens(self) -> frozenset[int]:
        """The tokenizer's end token and those that the model's configurations name."""
        generation = self.folder / "generation_config.json"
        configs = [self.config, read_config(generation) if generation.is_file() else {}]
        found = {self.tokenizer.eos_token_id}
        for config in configs:
            named = config.get("eos_token_id")
            found |= set(named) if isinstance(named, list) else {named}
        return frozenset(token for token in found if isinstance(token, int))

    def _default_prefix(self) -> tuple[int, ...]:
        """What the tokenizer puts in front of a text, found by trying."""
        bare = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = self.tokenizer("a")["input_ids"]
        for start in range(len(whole)):
            if whole[start : start + len(bare)] == bare:
                return tuple(whole[:start])
        return ()


def _parts(file: Path) -> list[Path]:
    """All parts of a file that is named like one of several; else itself."""
    if not (split := _PART.fullmatch(file.name)):
        return [file]
    stem, count, suffix = split.groups()
    return [file.with_name(f"{stem}-{i:05}-of-{count}{suffix}") for i in range(1, int(count) + 1)]


def _silence_transformers() -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object. Raises `UsageError`."""
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is not readable JSON: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{file} holds no JSON object")
    return config


def first_line(error: Exception) -> str:
    """An error's message, without the paragraphs that libraries add."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[: 1 + lines[0].endswith(":")])  # it may but introduce the second


def require(runtime: str, module: str) -> Any:
    """Imports an engine's module. Raises `MissingEngineError`."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingEngineError(runtime, module.partition(".")[0]) from None
