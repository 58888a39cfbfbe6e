"""What mlx-lm does not find in configurations as transformers writes them.

transformers 5 keeps what belongs to rotary embeddings in `rope_parameters`, calls some values by
names of its own, and leaves out those that are its defaults. An architecture of mlx-lm reads keys
of the top level and takes its own defaults for those that are not there, which makes another model
of the same weights, without a word. What transformers takes is what the model was trained with.
"""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pajamas_eval.errors import UsageError

_READABLE = {"awq", "bitnet", "compressed-tensors", "fp8", "gptq", "modelopt", "mxfp4", "mxfp8"}
"""Methods of other programs whose weights mlx-lm takes."""

_OTHER_NAMES = {
    "n_ctx": "max_position_embeddings",
    "rotary_emb_base": "rope_theta",
    "rotary_pct": "partial_rotary_factor",
    "rope_global_base_freq": "rope_theta",
}
"""Keys of mlx-lm that no attribute of transformers is called by."""

_LOCAL_NAMES = {"rope_local_base_freq": "rope_theta"}
"""Keys of the layers with a sliding window, where those have a rotation of their own."""

_ROTARY = frozenset({"rope_theta", "rope_scaling", "partial_rotary_factor", *_LOCAL_NAMES})
"""Keys that an architecture which reads `rope_parameters` itself finds there."""

_HARMLESS = frozenset(
    {
        "max_position_embeddings",
        "layer_types",
        "hybrid_override_pattern",
        "tie_word_embeddings",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    }
)
"""Without effect on logits, or found out by mlx-lm in other ways."""


@dataclass(frozen=True)
class Unread:
    """A key that mlx-lm looks for in vain.

    Attributes:
        section: The part of the configuration where it looks, such as `text_config`; or empty.
        value: What transformers takes.
        taken: What mlx-lm takes.
        is_known: Whether transformers takes any.
        is_required: Whether mlx-lm cannot do without.
    """

    key: str
    section: str
    value: Any
    taken: Any
    is_known: bool = True
    is_required: bool = False


def refuse_other_packing(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises `UsageError` for weights that other programs quantized in ways of their own."""
    packed = config.get("quantization_config")
    if packed and "quantization" not in config:
        method = str(packed.get("quant_method", "by no method that is named"))
        if method not in _READABLE:
            raise UsageError(
                f"{folder} is quantized ({method}), which mlx-lm does not read; convert the "
                "original model with mlx_lm.convert"
            )


def unread(folder: Path, config: Mapping[str, Any], classes: tuple[Any, Any]) -> list[Unread]:
    """Keys that change the model, and that mlx-lm does not find in a folder's configuration.

    Args:
        folder: The model's.
        config: The content of its `config.json`.
        classes: mlx-lm's model and its arguments, for that configuration.
    """
    from transformers import AutoConfig

    try:
        theirs = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception:  # an architecture that only mlx-lm knows; nothing to compare with
        return []
    found = list(_compared("", config, _taken(classes[1], config), theirs))
    part = config.get("text_config")
    if isinstance(part, Mapping):
        for args in _arguments_of_parts(classes, config):
            names = {f.name for f in fields(args)} - set(inspect.signature(classes[1]).parameters)
            taken = {name: getattr(args, name) for name in names}
            found += _compared("text_config", part, taken, theirs.get_text_config())
    return found


def remedy(found: Iterable[Unread]) -> dict[str, Any]:
    """What a configuration must be given, by sections."""
    given: dict[str, Any] = {}
    for each in found:
        if each.is_known:
            (given.setdefault(each.section, {}) if each.section else given)[each.key] = each.value
    return given


def misread(folder: Path, found: Sequence[Unread]) -> str:
    """Why mlx-lm must not run a folder, and what to do."""
    hopeless = [each.key for each in found if not each.is_known]
    if hopeless:
        return (
            f"{folder} cannot be loaded by mlx-lm: its config.json has no {', '.join(hopeless)}, "
            "which that architecture of mlx-lm needs"
        )
    said = "; ".join(
        f"no {'.'.join(filter(None, (each.section, each.key)))} ({json.dumps(each.value)} to "
        f"transformers, {'needed' if each.is_required else json.dumps(each.taken)} to mlx-lm)"
        for each in found
    )
    given = json.dumps(remedy(found))
    return (
        f"mlx-lm reads another model from {folder}: its config.json has {said}; write it there: "
        f"pajamas-eval verify --fix {folder}; or for one run: mlx[path=…,config='{given}']"
    )


def _taken(kind: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as mlx-lm makes them; `MISSING` where it cannot do without."""
    try:
        return dict(vars(kind.from_dict(dict(config))))
    except Exception:  # a required one is missing, or what is derived from it
        parameters = inspect.signature(kind).parameters.values()
        return {
            p.name: config.get(p.name, MISSING if p.default is p.empty else p.default)
            for p in parameters
        }


def _arguments_of_parts(classes: tuple[Any, Any], config: Mapping[str, Any]) -> list[Any]:
    """Arguments of the language model inside one that also sees or hears."""
    kind, arguments = classes
    try:
        outer = arguments.from_dict(dict(config))
        modules = kind(outer).modules()  # weights are made when they are needed, and are not
    except Exception:  # mlx-lm will say what is wrong when it loads the model
        return []
    return [m.args for m in modules if hasattr(m, "args") and type(m.args) is not arguments][:1]


def _compared(
    section: str, config: Mapping[str, Any], taken: Mapping[str, Any], theirs: Any
) -> Iterator[Unread]:
    reads_nested = "rope_parameters" in taken and "rope_parameters" in config
    for key, ours in taken.items():
        if key in config or (reads_nested and key in _ROTARY):
            continue
        known, value = _of_transformers(theirs, key)
        if ours is MISSING:
            yield Unread(key, section, value, None, is_known=known, is_required=True)
        elif known and key not in _HARMLESS and not _equal(key, ours, value):
            yield Unread(key, section, value, ours)


def _of_transformers(config: Any, key: str) -> tuple[bool, Any]:
    """Whether transformers knows a value, and the value."""
    rope = getattr(config, "rope_parameters", None) or {}
    of_all, of_local = rope, {}
    if "full_attention" in rope:
        of_all, of_local = rope["full_attention"], rope.get("sliding_attention", {})
    if key in _LOCAL_NAMES:
        name = _LOCAL_NAMES[key]
        return name in of_local, of_local.get(name)
    name = _OTHER_NAMES.get(key, key)
    if name in ("rope_scaling", "rope_parameters"):
        scaled = of_all.get("rope_type", "default") != "default"
        return bool(rope), {
            k: v for k, v in of_all.items() if k != "rope_theta"
        } if scaled else None
    if name in of_all:
        return True, of_all[name]
    if name == "head_dim" and getattr(config, name, None) is None:
        return True, config.hidden_size // config.num_attention_heads
    missing = object()
    value = getattr(config, name, missing)
    return value is not missing, None if value is missing else value


def _equal(key: str, ours: Any, theirs: Any) -> bool:
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return np.float32(ours) == np.float32(theirs)
    if key == "rope_scaling" and isinstance(ours, Mapping):
        ours = None if ours.get("rope_type", ours.get("type")) == "default" else ours
    if ours is None or theirs is None:  # either may spell out what the other derives
        return key not in _ROTARY or ours is theirs
    return bool(ours == theirs)
