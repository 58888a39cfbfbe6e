"""What a worker process says of its model."""

from dataclasses import dataclass, field

from pajamas_eval.api.answer_key import AnswerKey
from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.identity import Identity, Settings
from pajamas_eval.api.runtime import Capabilities, Usage
from pajamas_eval.workers.disturbance import LostTime


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker says of its model before the weights are loaded.

    Attributes:
        settings: How it reads text; nothing where the runtime cannot know.
        architecture: As its engine resolved it, likewise.
    """

    settings: Settings | None
    capabilities: Capabilities
    key: AnswerKey
    architecture: ArchitectureFacts | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """How a model reads requests.

    Attributes:
        fingerprints: One for each request, in order; equal ones have equal results.
        unknown: Places of those that the runtime cannot tell how it reads.
    """

    fingerprints: list[bytes]
    unknown: frozenset[int] = frozenset()


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
    time: LostTime = field(default_factory=LostTime)
