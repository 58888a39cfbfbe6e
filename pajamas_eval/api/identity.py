"""What a runtime says of itself: its engine, its model, and how it reads text."""

import msgspec


class Engine(msgspec.Struct, frozen=True):
    """An installed engine.

    Attributes:
        versions: Version of each package that affects the answer.
        device: The device it would use, in a word or two.
        build: What else decides its kernels, in the engine's own words: how it was built, and for
            which hardware.
    """

    versions: dict[str, str]
    device: str
    build: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a model reads text, known before its weights are loaded.

    Attributes:
        context_length: Tokens a single sequence may have; nothing where it is not known.
        prefix_tokens: Tokens in front of every text, normally BOS or nothing.
        bos_token: Text of the BOS token, empty if there is none.
        eos_token: Text of the end token, empty if there is none.
        end_tokens: Texts of all tokens that end a text that is generated.
        chat_template: The model's own Jinja template, if it has one.
        notes: What a reader should know of options that could not be followed.
    """

    context_length: int | None
    prefix_tokens: tuple[int, ...] = ()
    bos_token: str = ""
    eos_token: str = ""
    end_tokens: tuple[str, ...] = ()
    chat_template: str | None = None
    notes: tuple[str, ...] = ()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What exactly was run; nothing for what a runtime cannot know, as behind a server.

    Attributes:
        digest: BLAKE3 of the model's files: equal weights have equal digests wherever they lie.
        size_bytes: Size of the weight files on disk.
        quantization: The format's own name for its quantization, such as `Q4_K_M`.
        bits_per_weight: Average over all parameters, computed from the tensors.
        dtype: Type the engine computes in.
        versions: Version of each package that affects the answer.
        notes: What the adapter did that a reader should know.
    """

    runtime: str
    path: str
    digest: str | None = None
    size_bytes: int | None = None
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    bits_per_weight: float | None = None
    dtype: str | None = None
    device: str | None = None
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()
