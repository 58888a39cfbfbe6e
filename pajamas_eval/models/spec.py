"""What the user types for a model: a path, a hub id, `runtime[key=value,…]`, or a config file."""

import json
import re
import runpy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pajamas_eval.api.safetensors import read_header
from pajamas_eval.errors import UsageError
from pajamas_eval.models.registry import RUNTIME_ALIASES, check_runtime

_LABELLED = re.compile(r"(?P<label>\w[\w.+-]*)=(?P<rest>.+)", re.DOTALL)
_NAMED = re.compile(r"(?P<runtime>[A-Za-z_]\w*)\[(?P<options>.*)\]", re.DOTALL)
_OPTION = re.compile(
    r"""\s*(?P<key>\w+)=(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^,]*))\s*(?:,|$)"""
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SPLIT = re.compile(r"(?P<stem>.*)-(?P<part>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
_CONFIGS = (".toml", ".py")
NAMING_OPTIONS = ("path", "model")
"""Options that name a model: where it lies, or what a server calls it."""

_CONFIG_LIMIT = 10_000_000
"""Bytes of a configuration; real ones have thousands."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model to run: its label in the report, its runtime, and the runtime's options."""

    label: str
    runtime: str
    options: Mapping[str, object]

    @property
    def source(self) -> str:
        """What names the model: its path, or its name behind a server."""
        return str(next(self.options[key] for key in NAMING_OPTIONS if key in self.options))

    @property
    def path(self) -> Path | None:
        """Where it lies, if it does so in a file or a folder."""
        return Path(str(self.options["path"])) if "path" in self.options else None


def parse_specs(texts: Sequence[str]) -> list[ModelSpec]:
    """Parses all models of one command. Raises `UsageError`, also where two labels are alike."""
    specs = [parse_spec(text) for text in texts]
    seen: dict[str, str] = {}
    for spec, text in zip(specs, texts, strict=True):
        if spec.label in seen:
            raise UsageError(
                f"two models have the label {spec.label!r} ({seen[spec.label]} and {text}); "
                f"give one another label: other={text.removeprefix(spec.label + '=')}"
            )
        seen[spec.label] = text
    return specs


def parse_spec(text: str) -> ModelSpec:
    """Parses one model, `label=spec` or `spec`. Raises `UsageError`."""
    label = None
    if (labelled := _LABELLED.fullmatch(text)) and not _exists(text):
        label, text = labelled["label"], labelled["rest"]
    if _exists(text) or not (named := _NAMED.fullmatch(text)):
        spec = _from_path(text)
    else:
        spec = _from_options(named["runtime"], _parse_options(named["options"], text), text)
    return ModelSpec(_one_line(label or spec.label), spec.runtime, spec.options)


def _one_line(label: str) -> str:
    """Without line ends and other control characters, which would forge lines of a report."""
    return _CONTROL.sub("�", label)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or a NUL byte
        return False


def _is_file(path: Path) -> bool:
    return _exists(str(path)) and path.is_file()


def _parse_options(text: str, whole: str) -> dict[str, object]:
    options: dict[str, object] = {}
    at = 0
    while at < len(text):
        match = _OPTION.match(text, at)
        if not match:
            raise UsageError(f"cannot read {text[at:]!r} in {whole!r}; write runtime[key=value,…]")
        if match["key"] in options:
            raise UsageError(f"duplicate {match['key']!r} in {whole!r}")
        values = (match[name] for name in ("double", "single") if match[name] is not None)
        options[match["key"]] = next(values, None) or (match["plain"] or "").strip()
        at = match.end()
    return options


def _from_options(runtime: str, options: Mapping[str, object], source: str) -> ModelSpec:
    name = next((options[key] for key in NAMING_OPTIONS if key in options), None)
    if not isinstance(name, str) or not name or "\0" in name:
        raise UsageError(f"{source!r} names no model; add path=…")
    check_runtime(runtime)
    return ModelSpec(_label_of(name), _canonical(runtime), _whole(runtime, options))


def _whole(runtime: str, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options, naming part 1 where they name another part of a split GGUF file."""
    path = Path(str(options.get("path", "")))
    if runtime != "gguf" or not _SPLIT.fullmatch(path.name):
        return options
    return {**options, "path": str(_first_part(path))}


def _label_of(path: str) -> str:
    name = Path(path).resolve().name if path in (".", "..") else Path(path).name
    if split := _SPLIT.fullmatch(name):
        name = split["stem"]
    return name.removesuffix(".gguf") or path


def _from_path(text: str) -> ModelSpec:
    """The runtime that a file, a folder or a hub id belongs to."""
    if not text.strip() or "\0" in text:
        raise UsageError("the model's name is empty or holds a NUL byte")
    path = Path(text)
    if _exists(text) and path.is_dir():
        return ModelSpec(_label_of(text), _folder_runtime(path), {"path": text})
    if path.suffix == ".gguf":
        return ModelSpec(_label_of(text), "gguf", {"path": str(_first_part(path))})
    if path.suffix in _CONFIGS:
        return _from_config(path)
    if _exists(text):
        raise UsageError(
            f"{text} is not a model: expected a .gguf file, a folder, a .toml or a .py"
        )
    if _HUB_ID.fullmatch(text):
        return ModelSpec(_label_of(text), "hf", {"path": text})
    raise UsageError(f"{text!r} is not a file, a folder or a hub id (org/name); check the path")


def _first_part(path: Path) -> Path:
    """The file itself, or part 1 of a split one, once all its parts are known to be there."""
    if split := _SPLIT.fullmatch(path.name):
        count = int(split["count"])
        parts = [
            path.with_name(f"{split['stem']}-{i:05}-of-{count:05}.gguf")
            for i in range(1, count + 1)
        ]
        if not parts:
            raise UsageError(f"{path} is named like one of 0 parts of a split file")
        missing = [part.name for part in parts if not _is_file(part)]
        if missing:
            others = f" and {len(missing) - 3} others" if len(missing) > 3 else ""
            raise UsageError(
                f"{path} is split into {count} files, of which {', '.join(missing[:3])}{others} "
                f"{'is' if len(missing) == 1 else 'are'} missing"
            )
        return parts[0]
    if not _is_file(path):
        raise UsageError(f"{path}: no such file")
    return path


def _folder_runtime(folder: Path) -> str:
    config_file = folder / "config.json"
    if not config_file.is_file():
        ggufs = sorted(p.name for p in folder.glob("*.gguf"))
        hint = f"; it holds {', '.join(ggufs[:3])}: name that file" if ggufs else ""
        if (folder / "adapter_config.json").is_file():
            hint += "; it holds an adapter: merge it with its base into one model first"
        raise UsageError(f"{folder} is not a model folder: it has no config.json{hint}")
    try:
        config = json.loads(_text(config_file))
    except (ValueError, OSError, RecursionError) as error:
        raise UsageError(f"{config_file} is not readable JSON: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{config_file} holds no JSON object")
    if "quantization" in config or _safetensors_format(folder) == "mlx":
        return "mlx"
    return "hf"


def _text(file: Path) -> str:
    if file.stat().st_size > _CONFIG_LIMIT:
        raise ValueError(f"it is longer than {_CONFIG_LIMIT} bytes")
    return file.read_text("utf-8")


def _safetensors_format(folder: Path) -> str | None:
    """The `format` in the metadata of the folder's first safetensors file."""
    for file in sorted(folder.glob("*.safetensors"))[:1]:
        metadata = read_header(file).get("__metadata__")
        return str(metadata.get("format")) if isinstance(metadata, dict) else None
    return None


def _from_config(path: Path) -> ModelSpec:
    """A `.toml` table, or the dictionary `model` of a `.py` file, which is executed."""
    if not _is_file(path):
        raise UsageError(f"{path}: no such file")
    try:
        if path.suffix == ".toml":
            config: Any = tomllib.loads(_text(path))
        else:
            config = runpy.run_path(str(path)).get("model")
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from None
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise UsageError(f"{path} must define a dictionary named model, whose keys are text")
    options = dict(config)
    runtime, label = options.pop("runtime", None), options.pop("label", path.stem)
    if runtime is not None:
        try:
            check_runtime(str(runtime))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
    if not (isinstance(label, str) and label):
        raise UsageError(f"{path}: label = {label!r} must be text, and not empty")
    for key, value in options.items():
        if not isinstance(value, str | int | float | bool | None):
            raise UsageError(f"{path}: {key} = {value!r} must be text, a number, or true or false")
    model_path = next((options[key] for key in NAMING_OPTIONS if key in options), None)
    if not isinstance(model_path, str) or not model_path or "\0" in model_path:
        raise UsageError(f'{path} names no model; add path = "…"')
    if "path" not in options and runtime is not None:  # behind a server
        return ModelSpec(label, _canonical(runtime), options)
    beside = path.parent / model_path
    if _exists(str(beside)):  # a path in a config file is relative to that file
        options["path"] = str(beside)
    if Path(model_path).suffix in _CONFIGS:
        raise UsageError(f"{path}: path = {model_path!r} is another config; name the model itself")
    if runtime is None:
        runtime = _from_path(str(options["path"])).runtime
    runtime = _canonical(runtime)
    return ModelSpec(label, runtime, _whole(runtime, options))


def _canonical(runtime: object) -> str:
    """A runtime's own name for any of its aliases."""
    return RUNTIME_ALIASES.get(str(runtime), str(runtime))
