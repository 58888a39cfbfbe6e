"""What a run is asked."""

from dataclasses import dataclass

from pajamas_eval.api.benchmark import SHOT_SEED
from pajamas_eval.workers.worker import TIMEOUT_SECONDS


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run is asked to do, with every model alike.

    Attributes:
        margin: Loss that a variant may have and still be no worse, as a proportion.
        until_decided: Ask questions in random order, and only until each verdict is in.
        noise_floor: Run the baseline a second time, in batches of another shape.
        same_weights: Labels of variants that are the baseline's weights in another runtime.
        timeout: Seconds that an engine may show no heartbeat while it answers.
    """

    seed: int = SHOT_SEED
    limit: int | None = None
    shots: int | None = None
    apply_chat_template: bool = False
    exact: bool = False
    confidence: float = 0.95
    margin: float = 0.01
    until_decided: bool = False
    noise_floor: bool = False
    same_weights: tuple[str, ...] = ()
    timeout: float = TIMEOUT_SECONDS
