"""Options that every in-process language-model runtime takes."""

from typing import Annotated

from msgspec import Meta

from pajamas_eval.api.options import NO_EFFECT, RuntimeOptions


class TokenOptions(RuntimeOptions, frozen=True, kw_only=True):
    """Options every in-process language-model runtime takes; adapters add their own.

    Those without effect on answers have it through the weights' digest, the prefix tokens or what
    the model reads, which are parts of the key themselves.

    Attributes:
        path: File, folder or hub id of the model.
        n_ctx: Upper bound on the context length, in tokens; the model's own by default.
        add_bos: Whether text starts with the BOS token; the model's own default if not given.
        trust_remote_code: Run Python code that comes with the model.
        allow_pickle: Load weights stored as Python pickles, which can run code.
        exact: Run one sequence at a time and share nothing: slow, and free of the small
            differences that an engine's kernels make between batches of different shape.
        batch_tokens: Most tokens of one batch, where that is less than the runtime's own number.
        batch_sequences: Most sequences of one batch, likewise.
        damage: Standard deviation of noise that is added to each weight matrix, as a share of its
            root mean square: a model worse than it is, to see whether questions show it.
    """

    path: Annotated[str, NO_EFFECT]
    n_ctx: Annotated[Annotated[int, Meta(ge=1)] | None, NO_EFFECT] = None
    add_bos: Annotated[bool | None, NO_EFFECT] = None
    trust_remote_code: bool = False
    allow_pickle: Annotated[bool, NO_EFFECT] = False
    exact: bool = False
    batch_tokens: Annotated[int, Meta(ge=1)] | None = None
    batch_sequences: Annotated[int, Meta(ge=1)] | None = None
    damage: Annotated[Annotated[float, Meta(ge=0, le=10)], NO_EFFECT] = 0.0
