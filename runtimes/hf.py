"""Models in transformers: CUDA, Apple's MPS, or the CPU."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.generation import Generation
from pajamas_eval.runtime import Engine, Identity, RuntimeOptions
from pajamas_eval.runtimes._folder import FolderRuntime, first_line, require
from pajamas_eval.token_runtime import Row


class HfOptions(RuntimeOptions, frozen=True, kw_only=True):
    """Options of the hf runtime.

    Attributes:
        dtype: Type of weights and computation; `auto` is the stored one, save that 16-bit types
            become float32 on the CPU, where they are slow and no smaller in effect.
        device: `cuda`, `mps` or `cpu`; the first of these that works by default.
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
        versions = {"torch": str(torch.__version__), "transformers": transformers.__version__}
        return Engine(versions, _best_device())

    def load(self) -> Identity:
        """Reads the weights."""
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        self.device = _best_device() if self.options.device == "auto" else self.options.device
        try:
            self.model = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=self._dtype(),
                trust_remote_code=self.options.trust_remote_code,
                use_safetensors=True if self.files else None,
            )
            self.model = self.model.eval().to(self.device)
        except Exception as error:  # transformers raises many kinds for broken weights
            raise UsageError(
                f"{self.folder} cannot be loaded by transformers: {first_line(error)}"
            ) from None
        # A model's own sampling settings, such as a repetition penalty, would make its
        # generations those of another model.
        self.model.generation_config = GenerationConfig()
        self._keeps_logits = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        torch.set_grad_enabled(False)
        parameters = sum(p.numel() for p in self.model.parameters())
        size = sum(file.stat().st_size for file in self.files)
        quantization = self.config.get("quantization_config") or {}
        stored = self.config.get("dtype") or self.config.get("torch_dtype") or "unknown"
        return Identity(
            runtime=self.name,
            path=self.options.path,
            digest=self.digest(),
            size_bytes=size,
            architecture=(self.config.get("architectures") or ["unknown"])[0],
            parameters=parameters,
            quantization=str(quantization.get("quant_method", stored)),
            bits_per_weight=8 * size / parameters,
            dtype=str(self.model.dtype).removeprefix("torch."),
            device=self.device,
            versions=self.engine().versions,
        )

    def score(self, rows: Sequence[Row]) -> None:
        """One batch padded on the right, logits only where some row needs them."""
        import torch

        width = max(len(row.tokens) for row in rows)
        tokens = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row.tokens)] = row.tokens
            mask[i, : len(row.tokens)] = 1
        kept = np.unique(np.concatenate([row.positions for row in rows]))
        kwargs = {"logits_to_keep": torch.as_tensor(kept)} if self._keeps_logits else {}
        column = {int(p): c for c, p in enumerate(kept)} if kwargs else {}
        sequence = np.concatenate([[i] * len(row.targets) for i, row in enumerate(rows)])
        place = np.array([column.get(p, p) for row in rows for p in row.positions])
        target = np.concatenate([row.targets for row in rows])
        with _memory_errors(), torch.inference_mode():
            logits = self.model(
                input_ids=torch.as_tensor(tokens, device=self.device),
                attention_mask=torch.as_tensor(mask, device=self.device),
                use_cache=False,
                **kwargs,
            ).logits[sequence, place]
            logits = logits.float()
            picked = logits[torch.arange(len(target)), torch.as_tensor(target)]
            log_probs = (picked - logits.logsumexp(-1)).double().cpu().numpy()
            greedy = logits.argmax(-1).cpu().numpy() == target
        ends = np.cumsum([len(row.targets) for row in rows])[:-1]
        for row, values, flags in zip(
            rows, np.split(log_probs, ends), np.split(greedy, ends), strict=True
        ):
            row.log_probabilities, row.is_greedy = values, flags

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Batches of prompts of similar length, padded on the left."""
        for start in range(0, len(generations), self.batch_sequences):
            batch = generations[start : start + self.batch_sequences]
            self._generate_batch(batch)
            yield from batch

    def _generate_batch(self, batch: Sequence[Generation]) -> None:
        import torch

        width = max(len(g.prompt) for g in batch)
        tokens = torch.zeros((len(batch), width), dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for i, generation in enumerate(batch):
            tokens[i, width - len(generation.prompt) :] = torch.as_tensor(generation.prompt)
            mask[i, width - len(generation.prompt) :] = 1

        def stopped(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            newest = input_ids[:, -1].tolist()
            for generation, token in zip(batch, newest, strict=True):
                if not generation.finish_reason:
                    generation.push(token)
            return torch.tensor([bool(g.finish_reason) for g in batch], device=input_ids.device)

        with _memory_errors(), torch.inference_mode():
            self.model.generate(
                input_ids=tokens.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=max(g.max_tokens for g in batch),
                do_sample=False,
                pad_token_id=0,
                stopping_criteria=[stopped],
            )

    def device_memory_bytes(self) -> int:
        """Peak memory on a CUDA device."""
        import torch

        return torch.cuda.max_memory_allocated() if self.device.startswith("cuda") else 0

    def _dtype(self) -> Any:
        import torch

        if self.options.dtype != "auto":
            return getattr(torch, self.options.dtype)
        if self.device == "cpu" and "quantization_config" not in self.config:
            return torch.float32
        return "auto"


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class _memory_errors:  # noqa: N801
    """Turns every way in which torch runs out of memory into `OutOfMemoryError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import torch

        if isinstance(error, torch.OutOfMemoryError | MemoryError) or (
            isinstance(error, RuntimeError)
            and any(words in str(error) for words in ("out of memory", "can't allocate memory"))
        ):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise OutOfMemoryError(first_line(Exception(str(error)))) from None
