"""MLX models through mlx-lm: Apple silicon, or the CPU of a Linux machine."""

import ctypes
import ctypes.util
import importlib.util
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.generation import Generation
from pajamas_eval.runtime import Engine, Identity, RuntimeOptions
from pajamas_eval.runtimes._folder import FolderRuntime, first_line, require
from pajamas_eval.token_runtime import Row


class MlxOptions(RuntimeOptions, frozen=True, kw_only=True):
    """Options of the mlx runtime."""


class MlxRuntime(FolderRuntime):
    """A folder that mlx-lm can load."""

    name = "mlx"
    options_type = MlxOptions
    options: MlxOptions

    @classmethod
    def engine(cls) -> Engine:
        """The installed MLX and mlx-lm."""
        mx = _mlx().mx
        versions = {package: version(package) for package in ("mlx", "mlx-lm")}
        return Engine(versions, "Metal" if mx.metal.is_available() else f"CPU ({_blas()})")

    def load(self) -> Identity:
        """Reads the weights."""
        mlx = _mlx()
        mx = mlx.mx
        try:
            self.model, _ = mlx.utils.load_model(
                self.folder, trust_remote_code=self.options.trust_remote_code
            )
        except Exception as error:  # mlx-lm raises many kinds for broken weights
            raise UsageError(
                f"{self.folder} cannot be loaded by mlx-lm: {first_line(error)}"
            ) from None
        parameters = mlx.utils.get_total_parameters(self.model)
        bits = mlx.utils.compute_bits_per_weight(self.model)
        quantization = self.config.get("quantization") or {}
        stored = _float_types(self.model)
        notes = []
        if not mx.metal.is_available() and (quantization or stored != "float32"):
            notes.append(self._make_exact_on_cpu())
        return Identity(
            runtime=self.name,
            path=self.options.path,
            digest=self.digest(),
            size_bytes=sum(file.stat().st_size for file in self.files),
            architecture=str(self.config.get("model_type", "unknown")),
            parameters=parameters,
            quantization=(
                f"{quantization.get('bits')}-bit, groups of {quantization.get('group_size')}"
                if quantization
                else stored
            ),
            bits_per_weight=bits,
            dtype=_float_types(self.model),
            device=self.engine().device,
            versions=self.engine().versions,
            notes=tuple(notes),
        )

    def score(self, rows: Sequence[Row]) -> None:
        """One batch padded on the right, through a fresh cache."""
        mlx = _mlx()
        mx = mlx.mx
        width = max(len(row.tokens) for row in rows)
        tokens = np.zeros((len(rows), width), np.int32)
        for i, row in enumerate(rows):
            tokens[i, : len(row.tokens)] = row.tokens
        sequence = np.concatenate([[i] * len(row.targets) for i, row in enumerate(rows)])
        place = np.concatenate([row.positions for row in rows])
        target = np.concatenate([row.targets for row in rows])
        try:
            cache = mlx.cache.make_prompt_cache(self.model)
            logits = self.model(mx.array(tokens), cache=cache)
            logits = logits[mx.array(sequence), mx.array(place)].astype(mx.float32)
            picked = mx.take_along_axis(logits, mx.array(target)[:, None], axis=-1)[:, 0]
            log_probs = picked - _log_normalizer(mx, logits)
            greedy = mx.argmax(logits, axis=-1) == mx.array(target)
            mx.eval(log_probs, greedy)
        except RuntimeError as error:
            raise _memory_error(error) from None
        mx.clear_cache()
        ends = np.cumsum([len(row.targets) for row in rows])[:-1]
        for row, values, flags in zip(
            rows,
            np.split(np.array(log_probs, np.float64), ends),
            np.split(np.array(greedy), ends),
            strict=True,
        ):
            row.log_probabilities, row.is_greedy = values, flags

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Continuous batching by mlx-lm's batch generator."""
        mlx = _mlx()
        mx = mlx.mx
        generator = mlx.generate.BatchGenerator(
            self.model, completion_batch_size=self.batch_sequences
        )
        try:
            numbers = generator.insert(
                [g.prompt for g in generations], [g.max_tokens for g in generations]
            )
            running = dict(zip(numbers, generations, strict=True))
            while running:
                finished = []
                for response in generator.next_generated():
                    generation = running[response.uid]
                    generation.push(response.token)
                    if generation.finish_reason:
                        del running[response.uid]
                        finished.append(generation)
                        if response.finish_reason is None:
                            generator.remove([response.uid])
                yield from finished
        except RuntimeError as error:
            raise _memory_error(error) from None
        finally:
            generator.close()
            mx.clear_cache()

    def _make_exact_on_cpu(self) -> str:
        """Expands weights to float32: MLX's CPU kernels add up in the weights' own type.

        Measured on x86: float16 scales are 50 times slower and 0.015 nats off.
        """
        mlx = _mlx()
        mx = mlx.mx
        from mlx.utils import tree_map

        self.model = mlx.utils.dequantize_model(self.model)
        self.model.update(
            tree_map(
                lambda v: v.astype(mx.float32) if mx.issubdtype(v.dtype, mx.floating) else v,
                self.model.parameters(),
            )
        )
        mx.eval(self.model.parameters())
        return "on the CPU its weights are expanded to float32: same values, more memory"


def _log_normalizer(mx: Any, logits: Any) -> Any:
    """Log-sum-exp over the vocabulary, in blocks.

    MLX adds up on the CPU in one long float32 sum, which is 4.5e-5 off for 49,152 tokens, at every
    token in the same direction; in blocks of 256 it is 1e-6.
    """
    padding = -logits.shape[-1] % 256
    blocks = mx.pad(logits, ((0, 0), (0, padding)), constant_values=-float("inf"))
    blocks = blocks.reshape(len(logits), -1, 256)
    return mx.logsumexp(mx.logsumexp(blocks, axis=-1), axis=-1)


def _float_types(model: Any) -> str:
    """The floating-point types of the parameters, such as `bfloat16`."""
    from mlx.utils import tree_flatten

    names = {str(v.dtype).removeprefix("mlx.core.") for _, v in tree_flatten(model.parameters())}
    return "/".join(sorted(name for name in names if "float" in name))


def _memory_error(error: RuntimeError) -> Exception:
    words = str(error).lower()
    if "malloc" in words or "allocate" in words or "memory" in words:
        return OutOfMemoryError(first_line(error))
    return error


@dataclass(frozen=True)
class _Modules:
    mx: Any
    utils: Any
    generate: Any
    cache: Any


@cache
def _mlx() -> _Modules:
    """`mlx.core` and the parts of `mlx_lm`, imported when first needed."""
    _blas()
    set_limit = resource.setrlimit
    # mlx_lm lowers the limit of open files for good when it is imported: not ours to give away.
    resource.setrlimit = lambda *_: None
    try:
        return _Modules(
            mx=require("mlx", "mlx.core"),
            utils=require("mlx", "mlx_lm.utils"),
            generate=require("mlx", "mlx_lm.generate"),
            cache=require("mlx", "mlx_lm.models.cache"),
        )
    finally:
        resource.setrlimit = set_limit


@cache
def _blas() -> str:
    """Makes MLX multiply with a fast BLAS on Linux, whose wheel brings a slow one.

    MLX finds the BLAS symbols among the libraries loaded before it, so loading one globally is
    enough: torch's own copy of MKL, or the system's OpenBLAS (measured: 4.7 against 60 to 125
    GFLOPS on two cores).
    """
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return "its own BLAS"
    torch = importlib.util.find_spec("torch")
    candidates = {"torch's BLAS": "", "OpenBLAS": ctypes.util.find_library("openblas") or ""}
    if torch and torch.origin:
        candidates["torch's BLAS"] = str(Path(torch.origin).parent / "lib" / "libtorch_cpu.so")
    for name, library in candidates.items():
        try:
            if library and hasattr(ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL), "sgemm_"):
                return name
        except OSError:
            continue
    return "its own BLAS, slow: install torch or OpenBLAS"
