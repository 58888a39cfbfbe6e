"""What a worker process says of its model."""

from dataclasses import dataclass
from typing import Any

from pajamas_eval.api.identity import Engine, Identity, Settings
from pajamas_eval.api.runtime import Capabilities, Usage


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker says of its model before the weights are loaded.

    Attributes:
        digest: BLAKE3 of the model's files, in hexadecimal.
        options: Options that can change an answer, as they were given or are by default.
    """

    settings: Settings
    capabilities: Capabilities
    digest: str
    engine: Engine
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker says of its model once it is loaded."""

    identity: Identity
    seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """What answering a list of requests cost."""

    usage: Usage
    peak_memory_bytes: int
