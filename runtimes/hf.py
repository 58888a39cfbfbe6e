"""Models in transformers: CUDA, Apple's MPS, or the CPU."""

import copy
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.runtimes._folder import FolderRuntime, first_line, require
from pajamas_eval.runtimes._hf_architecture import facts_of_config
from pajamas_eval.runtimes._hf_damage import damage
from pajamas_eval.runtimes._hf_device import best_device, device_named, hardware
from pajamas_eval.runtimes._hf_kinds import causal_config
from pajamas_eval.runtimes._hf_load import load_model, refuse_unloadable
from pajamas_eval.runtimes._hf_quantization import (
    is_followed,
    parameter_count,
    quantization_name,
    quantizer_version,
    refuse_unusable,
)
from pajamas_eval.runtimes._hf_trace import watched
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.hidden_states import LOGIT_ROWS, Watch
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.prefix_tree import Budget
from pajamas_eval.tokens.scoring import ScoringBatch

GPU_BUDGET = {"tokens": 8192, "rows": 128, "outputs": 512, "padding": 512}
"""What a GPU is offered at first; it is halved where memory runs out."""


class HfOptions(TokenOptions, frozen=True, kw_only=True):
    """Options of the hf runtime.

    Attributes:
        dtype: Type of weights and computation; `auto` is the stored one, save that 16-bit types
            become float32 on the CPU, where they are slow and no smaller in effect.
        device: `cuda`, `cuda:1`, `mps` or `cpu`; by default the first kind of these that works.
    """

    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: str = "auto"


class HfRuntime(FolderRuntime):
    """A transformers model folder, or a hub id."""

    name = "hf"
    options_type = HfOptions
    options: HfOptions

    @classmethod
    def engine(cls) -> Engine:
        """The installed torch and transformers."""
        torch, transformers = require("hf", "torch"), require("hf", "transformers")
        versions = {
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
            "tokenizers": version("tokenizers"),
        }
        return Engine(versions, best_device())

    def __init__(self, options: HfOptions) -> None:
        engine = self.engine()
        self.device = device_named(options.device)
        super().__init__(options)
        versions = engine.versions | quantizer_version(self._quantization)
        this = Engine(versions, self.device, hardware(self.device))
        self.engine = lambda: this  # type: ignore[method-assign]

    def _refuse_unusable(self) -> None:
        trusted = self.options.trust_remote_code
        self._resolved = causal_config(self.folder, self.config, trusted=trusted)
        part = self.config.get("text_config") or {}
        packed = self.config.get("quantization_config") or part.get("quantization_config")
        self._quantization: dict[str, Any] = packed or {}
        if packed:
            if self.options.damage:
                raise UsageError(f"damage takes plain weights, and {self.folder} is quantized")
            refuse_unusable(self.folder, packed)
        if not (packed and is_followed(packed)):
            refuse_unloadable(self.folder, trusted=trusted)

    def architecture(self) -> ArchitectureFacts:
        """From the configuration as transformers completes it, and the modules made from it."""
        return self.with_tokens(facts_of_config(self._resolved, len(self.tokenizer)))

    def load(self) -> Identity:
        """Reads the weights."""
        from torch.nn import ModuleList
        from transformers import GenerationConfig

        trusted = self.options.trust_remote_code
        self.model = load_model(
            self.folder, trusted=trusted, device=self.device, dtype=self._dtype()
        )
        if self.options.damage:
            damage(self.model, self.options.damage)
        # A model's own sampling settings, such as a repetition penalty, would make its
        # generations those of another model.
        self.model.generation_config = GenerationConfig()
        if self.device.startswith("cuda") and not self.options.exact:
            self.budget = self.bounded(Budget(**GPU_BUDGET))
        # Reading many long prompts is one call of the model, and may take minutes.
        for layer in next((m for m in self.model.modules() if isinstance(m, ModuleList)), ()):
            layer.register_forward_pre_hook(lambda *_: self.heartbeat())
        rope = getattr(self.model.config.get_text_config(), "rope_parameters", None) or {}
        if rope.get("rope_type") == "longrope":
            self.original_context_length = rope["original_max_position_embeddings"]
        self.clear_cache()
        self._gathers = self._gathers_rightly()
        notes = self.prove()
        parameters = parameter_count(self.model, trusted)
        size = sum(file.stat().st_size for file in self.files)
        stored = self.config.get("dtype") or self.config.get("torch_dtype") or "unknown"
        return Identity(
            runtime=self.name,
            path=self.options.path,
            digest=self.digest(),
            size_bytes=size,
            architecture=(self.config.get("architectures") or ["unknown"])[0],
            parameters=parameters,
            quantization=quantization_name(self._quantization) or str(stored),
            bits_per_weight=8 * size / parameters,
            dtype=str(self.model.dtype).removeprefix("torch."),
            device=self.device,
            versions=self.engine().versions,
            notes=notes,
        )

    def score(self, batch: ScoringBatch) -> int:
        """Rows side by side after the base's cache, in the batch's stages.

        Padding on the right needs no mask, since nothing comes after it that could attend to it.
        """
        import torch

        values, flags = np.empty(len(batch.targets)), np.empty(len(batch.targets), np.bool_)
        stages = batch.stages()
        with self._memory_errors(), torch.inference_mode():
            ran = self._prefill_base(batch.base)
            cache = copy.deepcopy(self._cache)
            for stage in stages:
                if cache is not None:
                    cache.batch_select_indices(torch.as_tensor(stage.parents, device=self.device))
                elif len(stages) > 1:
                    cache = self._new_cache()
                logits = self._logits(
                    torch.as_tensor(stage.rows, device=self.device),
                    torch.as_tensor(stage.columns, device=self.device),
                    input_ids=torch.as_tensor(stage.tokens, device=self.device, dtype=torch.long),
                    past_key_values=cache,
                    use_cache=cache is not None,
                ).float()
                ran += stage.tokens.size
                at = torch.as_tensor(stage.reads, device=self.device)
                targets = torch.as_tensor(stage.targets, device=self.device, dtype=torch.long)
                found = logits[at, targets] - logits.logsumexp(-1)[at]
                values[stage.slots] = found.cpu().double().numpy()  # MPS has no float64
                flags[stage.slots] = (logits.argmax(-1)[at] == targets).cpu().numpy()
        batch.write(values, flags)
        return ran

    def _prefill_base(self, base: NDArray[np.int32]) -> int:
        """Has the base in the cache; returns the number of tokens that were run for it."""
        import torch

        if np.array_equal(base, self._held):
            return 0
        self.clear_cache()
        if not len(base):
            return 0
        cache = self._new_cache()
        self._logits(
            torch.zeros(1, dtype=torch.long, device=self.device),
            torch.zeros(1, dtype=torch.long, device=self.device),
            input_ids=torch.as_tensor(base, device=self.device, dtype=torch.long)[None],
            past_key_values=cache,
            use_cache=True,
        )
        self._cache, self._held = cache, base
        return len(base)

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def clear_cache(self) -> None:
        """Drops the cache of the base."""
        self._cache, self._held = None, np.empty(0, np.int32)

    def _logits(self, rows: Any, columns: Any, **inputs: Any) -> Any:
        """Logits `[k, vocabulary]` at the wanted places: the output layer is given only those."""
        head = self.model.get_output_embeddings()
        if head is None or not self._gathers:
            return self.model(**inputs).logits[rows, columns]

        def gather(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (args[0][rows, columns][None], *args[1:])

        hook = head.register_forward_pre_hook(gather)
        try:
            return self.model(**inputs).logits[0]
        finally:
            hook.remove()

    def trace(self, tokens: Sequence[int], watch: Watch) -> NDArray[np.float32]:
        """Runs one text without a cache."""
        import torch

        ids = torch.as_tensor(tokens, device=self.device)[None]
        columns = torch.arange(max(0, len(tokens) - LOGIT_ROWS), len(tokens), device=self.device)
        with self._memory_errors(), torch.inference_mode(), watched(self.model, watch):
            logits = self._logits(columns * 0, columns, input_ids=ids, use_cache=False)
        return logits.float().cpu().numpy()

    def _gathers_rightly(self) -> bool:
        """Whether the output layer, given the wanted places only, gives their logits.

        What a model calls its output layer may be another, such as that of the input.
        """
        import torch

        self._gathers = True
        tokens = torch.tensor([[1, 2, 3], [4, 5, 6]], device=self.device)
        rows, columns = torch.tensor([[0, 1, 1], [2, 1, 0]], device=self.device)
        with torch.inference_mode():
            try:
                expected = self.model(input_ids=tokens, use_cache=False).logits[rows, columns]
                got = self._logits(rows, columns, input_ids=tokens, use_cache=False)
                return got.shape == expected.shape and torch.allclose(
                    got.float(), expected.float(), rtol=1e-2, atol=1e-2, equal_nan=True
                )
            except Exception:  # whatever a model does with an odd shape
                return False

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Batches of prompts of similar length, padded on the left."""
        base = self.shared_prompt(generations)
        if self._has_window():
            base = base[:0]  # the padding after a base would count as part of the window
        for start in range(0, len(generations), self.batch_sequences):
            batch = generations[start : start + self.batch_sequences]
            self._generate_batch(batch, base)
            yield from batch
        self.clear_cache()

    def _has_window(self) -> bool:
        """Whether some layers see no more than so many places: texts may be longer than proofs."""
        config = self.model.config.get_text_config().to_dict()
        return any(v for k, v in config.items() if re.search(r"(^|_)(window|chunk)(_size)?$", k))

    def _generate_batch(self, batch: Sequence[Generation], base: NDArray[np.int32]) -> None:
        import torch

        # The padding stands between the base, which is the same for all, and the rest.
        rests = [torch.as_tensor(g.prompt[len(base) :]) for g in batch]
        width = len(base) + max(len(rest) for rest in rests)
        tokens = torch.zeros((len(batch), width), dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        tokens[:, : len(base)] = torch.as_tensor(base)
        mask[:, : len(base)] = 1
        for i, rest in enumerate(rests):
            tokens[i, width - len(rest) :] = rest
            mask[i, width - len(rest) :] = 1

        largest = torch.empty(0)

        def keep_largest(input_ids: Any, scores: Any) -> Any:
            nonlocal largest
            largest = scores.amax(-1)  # NaN where any of them is
            return scores

        reading = len(batch) * (width - len(base))

        def stopped(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            nonlocal reading
            self.ran(reading, 0 if reading else len(batch))
            reading = 0
            newest = zip(batch, input_ids[:, -1].tolist(), largest.tolist(), strict=True)
            for generation, token, logit in newest:
                if not generation.finished:
                    if math.isfinite(logit):
                        generation.push(token, logit)
                    else:
                        generation.fail()
            return torch.tensor([g.finished for g in batch], device=input_ids.device)

        with self._memory_errors(), torch.inference_mode():
            self.ran(self._prefill_base(base), 0)
            cache = copy.deepcopy(self._cache)
            if cache is not None:
                cache.batch_repeat_interleave(len(batch))
            self.model.generate(
                input_ids=tokens.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=max(g.max_tokens for g in batch),
                past_key_values=cache,
                do_sample=False,
                pad_token_id=0,
                logits_processor=[keep_largest],
                stopping_criteria=[stopped],
            )

    def device_memory_bytes(self) -> int:
        """Peak memory on a CUDA device; on Apple's MPS, which keeps what it took, what it holds."""
        import torch

        if self.device == "mps":
            return torch.mps.driver_allocated_memory()
        return torch.cuda.max_memory_allocated() if self.device.startswith("cuda") else 0

    @contextmanager
    def _memory_errors(self) -> Iterator[None]:
        """Turns every way in which torch runs out of memory into `OutOfMemoryError`."""
        import torch

        try:
            yield
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            words = ("out of memory", "can't allocate memory")
            if isinstance(error, RuntimeError) and not any(w in str(error) for w in words):
                raise
            self.clear_cache()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemoryError(first_line(error)) from None

    def _dtype(self) -> Any:
        import torch

        if self.options.dtype != "auto":
            return getattr(torch, self.options.dtype)
        if self.device == "cpu" and not self._quantization:
            return torch.float32
        return "auto"
