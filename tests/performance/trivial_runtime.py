"""A runtime whose model costs nothing: what remains is the program itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from blake3 import blake3

from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.scoring import ScoringBatch
from pajamas_eval.tokens.token_runtime import TokenRuntime


class TrivialRuntime(TokenRuntime):
    """Bytes are tokens, and every token is as probable as its number says."""

    name = "trivial"
    options_type = TokenOptions
    runs_subtrees = True

    def __init__(self, options: TokenOptions) -> None:
        super().__init__(options)
        self.bos_token_id, self.eos_token_ids, self.default_prefix = 256, frozenset({257}), (256,)
        self.native_context_length = 4096
        self.bos_token, self.eos_token, self.chat_template = "<s>", "</s>", None

    @classmethod
    def engine(cls) -> Engine:
        """No package."""
        return Engine({"trivial": "1"}, "CPU")

    def digest(self) -> str:
        """There are no files: each path is a model of its own."""
        return blake3(self.options.path.encode()).hexdigest()

    def load(self) -> Identity:
        """Nothing to read."""
        return Identity(
            runtime=self.name,
            path=str(Path(self.options.path).name),
            digest=self.digest(),
            size_bytes=0,
            architecture="trivial",
            parameters=0,
            quantization="none",
            bits_per_weight=0.0,
            dtype="none",
            device="CPU",
            versions={},
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The bytes."""
        return [list(text.encode()) for text in texts]

    def decode(self, tokens: Sequence[int], *, keep_special: bool) -> str:
        """The bytes."""
        del keep_special
        return bytes(t for t in tokens if t < 256).decode("utf-8", "replace")

    def score(self, batch: ScoringBatch) -> int:
        """No computation."""
        targets = batch.targets
        batch.write(-targets / 256, np.zeros(len(targets), np.bool_))
        return sum(segment.end - segment.begin for segment in batch.segments)

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Ends at once."""
        for generation in generations:
            generation.push(257)
            yield generation
