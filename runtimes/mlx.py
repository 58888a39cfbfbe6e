"""MLX models through mlx-lm: Apple silicon, or the CPU of a Linux machine."""

import json
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pajamas_eval.api.architecture import ArchitectureFacts
from pajamas_eval.api.identity import Engine, Identity
from pajamas_eval.api.options import overlaid
from pajamas_eval.errors import OutOfMemoryError, UsageError
from pajamas_eval.runtimes._folder import FolderRuntime, first_line, read_config
from pajamas_eval.runtimes._mlx_config import misread, refuse_other_packing, remedy, unread
from pajamas_eval.runtimes._mlx_damage import damage
from pajamas_eval.runtimes._mlx_library import blas, modules
from pajamas_eval.runtimes._mlx_weights import float_types, quantization_of
from pajamas_eval.tokens.generation import Generation
from pajamas_eval.tokens.hidden_states import LOGIT_ROWS, Watch
from pajamas_eval.tokens.log_softmax import log_probabilities
from pajamas_eval.tokens.options import TokenOptions
from pajamas_eval.tokens.scoring import ScoringBatch, SideBySide

PREFILL_TOKENS = 512
"""Most tokens of long prompts that are run at once, and so between two heartbeats."""

PREFILL_PROMPTS = 8
"""Most prompts that are read side by side."""

_PACKAGES = ("mlx", "mlx-lm", "transformers", "tokenizers")
"""What an answer depends on: the last two turn text into tokens and back."""


class MlxOptions(TokenOptions, frozen=True, kw_only=True):
    """Options of the mlx runtime.

    Attributes:
        config: A JSON object that is put over the model's `config.json`, for one run.
    """

    config: str = ""


class MlxRuntime(FolderRuntime):
    """A folder that mlx-lm can load."""

    name = "mlx"
    options_type = MlxOptions
    options: MlxOptions

    def _refuse_unusable(self) -> None:
        self.config = overlaid(self.config, self._given())
        refuse_other_packing(self.folder, self.config)
        if not (self.options.trust_remote_code and self.config.get("model_file")):
            with self._refusals("loaded"):
                classes = modules().utils._get_classes(self.config)
            if found := unread(self.folder, self.config, classes):
                raise UsageError(misread(self.folder, found))
        self._weights(lazy=True)

    @classmethod
    def engine(cls) -> Engine:
        """The installed MLX and mlx-lm."""
        mx = modules().mx
        versions = {package: version(package) for package in _PACKAGES}
        if not mx.metal.is_available():
            return Engine(versions, f"CPU ({blas()})")
        return Engine(versions, "Metal", str(mx.device_info().get("device_name", "")))

    def load(self) -> Identity:
        """Reads the weights."""
        mlx = modules()
        mx = mlx.mx
        from pajamas_eval.runtimes._mlx_head import HeadTap

        self.model = self._weights(lazy=False)
        parameters = mlx.utils.get_total_parameters(self.model)
        bits = mlx.utils.compute_bits_per_weight(self.model)
        quantization = quantization_of(self.model)
        stored = float_types(self.model)
        notes = [f"its config.json is overridden: {self.options.config}"] if self._given() else []
        if not mx.metal.is_available() and (quantization or stored != "float32"):
            notes.append(self._make_exact_on_cpu())
        if self.options.damage:
            damage(self.model, self.options.damage)
        with self._refusals("run"):
            self._head = HeadTap(self.model)
        self.clear_cache()
        # A state without positions is changed where it stands: it can be neither kept nor padded.
        caches = modules().cache.make_prompt_cache(self.model)
        notes += self.prove(can_share=all(hasattr(c, "keys") for c in caches))
        return Identity(
            runtime=self.name,
            path=self.options.path,
            digest=self.digest(),
            size_bytes=sum(file.stat().st_size for file in self.files),
            architecture=str(self.config.get("model_type", "unknown")),
            parameters=parameters,
            quantization=quantization or stored,
            bits_per_weight=bits,
            dtype=float_types(self.model),
            device=self.engine().device,
            versions=self.engine().versions,
            notes=tuple(notes),
        )

    def _weights(self, *, lazy: bool) -> Any:
        """The model; where it is lazy, its weights are known to fit and are not read."""
        trusted = self.options.trust_remote_code
        with self._refusals("loaded"):
            model, _ = modules().utils.load_model(
                self.folder, lazy=lazy, model_config=self.config, trust_remote_code=trusted
            )
        return model

    def score(self, batch: ScoringBatch) -> int:
        """Rows side by side after the base's cache, in the batch's stages."""
        mx = modules().mx
        values, flags = np.empty(len(batch.targets)), np.empty(len(batch.targets), np.bool_)
        try:
            ran = self._prefill_base(batch.base)
            caches = self._cache
            for stage in batch.stages():
                caches = self._branch(caches, stage)
                ran += stage.tokens.size
                for part in stage.parts(PREFILL_TOKENS):
                    tokens, at = (
                        mx.array(part.tokens),
                        (mx.array(part.rows), mx.array(part.columns)),
                    )
                    if not len(part.rows):
                        self._read(tokens, caches)
                        continue
                    logits = self._head(tokens, *at, caches).astype(mx.float32)
                    mx.eval(logits)
                    self.heartbeat()
                    # MLX's own sum over a vocabulary is 20 times slower on a CPU, and 4.5e-5 off.
                    values[part.slots], flags[part.slots] = log_probabilities(
                        np.array(logits, copy=False), part.reads, part.targets
                    )
        except RuntimeError as error:
            self.clear_cache()
            raise _memory_error(error) from None
        batch.write(values, flags)
        return ran

    def _prefill_base(self, base: NDArray[np.int32]) -> int:
        """Has the base in the cache; returns the number of tokens that were run for it."""
        if np.array_equal(base, self._held):
            return 0
        self.clear_cache()
        if not len(base):
            return 0
        mlx = modules()
        cache = mlx.cache.make_prompt_cache(self.model)
        for start in range(0, len(base), PREFILL_TOKENS):
            self._read(mlx.mx.array(base[None, start : start + PREFILL_TOKENS]), cache)
        self._cache, self._held = cache, base
        return len(base)

    def _read(self, tokens: Any, cache: Any) -> None:
        """Has tokens in the cache, and says so."""
        self.model(tokens, cache=cache)  # MLX is lazy: these logits are never computed
        modules().mx.eval([c.state for c in cache])
        self.heartbeat()

    def _branch(self, caches: Any, stage: SideBySide) -> Any:
        """A cache for each part of the stage: what its parent left, or nothing."""
        mlx = modules()
        if caches is None:
            caches = mlx.cache.make_prompt_cache(self.model)
            if all(type(c) is mlx.cache.KVCache for c in caches):
                return [mlx.cache.ConcatenateKVCache() for _ in caches]
            return [c.merge([c] * len(stage.parents)) for c in caches]
        plain = (mlx.cache.KVCache, mlx.cache.ConcatenateKVCache)
        if all(type(c) in plain for c in caches):
            return [_branch_plain(mlx, c, stage.parents) for c in caches]
        copies = [c if hasattr(c, "prepare") else c.merge([c]) for c in caches]
        padding = [max(stage.lengths) - length for length in stage.lengths]
        for c in copies:
            c.filter(mlx.mx.array(stage.parents))
            if max(padding):
                c.prepare(lengths=list(stage.lengths), right_padding=padding)
        return copies

    def trace(self, tokens: Sequence[int], watch: Watch) -> NDArray[np.float32]:
        """Runs one text into a new cache."""
        mlx = modules()
        mx = mlx.mx
        from pajamas_eval.runtimes._mlx_trace import watched

        cache = mlx.cache.make_prompt_cache(self.model)
        columns = mx.arange(max(0, len(tokens) - LOGIT_ROWS), len(tokens))
        try:
            with watched(self.model, watch):
                logits = self._head(mx.array([tokens]), columns * 0, columns, cache)
                return np.array(logits.astype(mx.float32))
        except RuntimeError as error:
            raise _memory_error(error) from None

    def clear_cache(self) -> None:
        """Drops the cache of the base, and the memory that MLX keeps for reuse."""
        self._cache, self._held = None, np.empty(0, np.int32)
        modules().mx.clear_cache()

    def generate(self, generations: Sequence[Generation]) -> Iterator[Generation]:
        """Continuous batching by mlx-lm's batch generator."""
        mlx = modules()
        at_once = self.batch_sequences
        base = self.shared_prompt(generations)
        usual = median(len(g.prompt) - len(base) for g in generations)
        side_by_side = int(max(1, min(PREFILL_PROMPTS, at_once, PREFILL_TOKENS // usual)))
        generator = mlx.generate.BatchGenerator(
            self.model,
            sampler=_most_probable,
            completion_batch_size=at_once,
            prefill_batch_size=side_by_side,
            prefill_step_size=PREFILL_TOKENS // side_by_side,
        )
        try:
            self.ran(self._prefill_base(base), 0)
            shared = {}
            if len(base):
                shared["caches"] = [self._cache] * len(generations)
                shared["all_tokens"] = [base.tolist() for _ in generations]
            numbers = generator.insert(
                [g.prompt[len(base) :] for g in generations],
                [g.max_tokens for g in generations],
                **shared,
            )
            running = dict(zip(numbers, generations, strict=True))
            done = dict.fromkeys(numbers, 0)
            while running:
                finished = []
                read, generated = generator.next()  # parts of prompts, and a token of each text
                self.ran(_padded(read, done), len(generated))
                for response in generated:
                    generation = running[response.uid]
                    if response.token < 0:
                        generation.fail()
                    else:
                        watched = generation.logits is not None
                        logit = response.logprobs[response.token].item() if watched else 0.0
                        generation.push(response.token, logit)
                    if generation.finished:
                        del running[response.uid]
                        finished.append(generation)
                        if response.finish_reason is None:
                            generator.remove([response.uid])
                yield from finished
        except RuntimeError as error:
            raise _memory_error(error) from None
        finally:
            generator.close()
            self.clear_cache()

    def device_memory_bytes(self) -> int:
        """What Metal held at its peak beyond the process's own.

        An Apple GPU uses the machine's memory. The process's peak counts those of its pages that
        the CPU has touched, such as weights that were read from a file, so that both together would
        count them twice: that the larger of the two was held is all that is known.
        """
        mx = modules().mx
        if not mx.metal.is_available():
            return 0
        return max(0, mx.get_peak_memory() - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    def architecture(self) -> ArchitectureFacts | None:
        """From the arguments and the modules that mlx-lm makes of the configuration."""
        from pajamas_eval.runtimes._mlx_architecture import facts_of_model

        kind, arguments = modules().utils._get_classes(self.config)
        try:
            model = kind(arguments.from_dict(self.config))  # its weights are never made
            caches = modules().cache.make_prompt_cache(model)
            facts = facts_of_model(model, self.config, caches, len(self.tokenizer))
        except Exception:  # an architecture that is built in its own way
            return None
        return self.with_tokens(facts)

    @classmethod
    def remedy(cls, folder: Path) -> Mapping[str, Any]:
        """Keys that mlx-lm does not find in `config.json` though transformers knows them."""
        config = read_config(folder / "config.json")
        library = modules()
        try:
            classes = library.utils._get_classes(config)
        except (Exception, SystemExit):  # what mlx-lm cannot load needs no remedy for it
            return {}
        return remedy(unread(folder, config, classes))

    def _given(self) -> dict[str, Any]:
        """What the options put over the configuration."""
        try:
            given = json.loads(self.options.config or "{}")
        except ValueError as error:
            raise UsageError(f"config={self.options.config!r} is not JSON: {error}") from None
        if not isinstance(given, dict):
            raise UsageError(f"config={self.options.config!r} is not a JSON object")
        return given

    @contextmanager
    def _refusals(self, doing: str) -> Iterator[None]:
        """Turns the many kinds of errors that mlx-lm raises for models it cannot use into one."""
        try:
            yield
        except SystemExit:  # so one of its architectures says that it needs a package
            reason = "mlx-lm gave up, perhaps for want of a package"
        except KeyError as error:
            reason = f"it lacks {error}"
        except Exception as error:
            reason = first_line(error)
        else:
            return
        raise UsageError(f"{self.folder} cannot be {doing} by mlx-lm: {reason}")

    def _make_exact_on_cpu(self) -> str:
        """Expands weights to float32: MLX's CPU kernels add up in the weights' own type.

        Measured on x86: float16 scales are 50 times slower and 0.015 nats off.
        """
        mlx = modules()
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


def _branch_plain(mlx: Any, cache: Any, parents: Sequence[int]) -> Any:
    """A cache of keys and values for each part, without copies where all have one parent.

    Padding on the right needs no mask, since nothing comes after it that could attend to it.
    """
    branched = mlx.cache.ConcatenateKVCache()
    parts = (part[..., : cache.offset, :] for part in (cache.keys, cache.values))
    if max(parents):
        index = mlx.mx.array(parents)
        branched.keys, branched.values = (part[index] for part in parts)
    else:
        branched.keys, branched.values = (
            mlx.mx.broadcast_to(part[:1], (len(parents), *part.shape[1:])) for part in parts
        )
    branched.offset = cache.offset
    return branched


def _padded(read: Sequence[Any], done: dict[int, int]) -> int:
    """Tokens that mlx-lm ran for parts of prompts, side by side, and for their last tokens.

    Args:
        read: What it says of each prompt.
        done: Tokens of each that it had run before; brought up to date.
    """
    lengths = []
    for response in read:
        if not response.end_of_prompt:
            lengths.append(response.progress[0] - done[response.uid])
            done[response.uid] = response.progress[0]
    return len(lengths) * max(lengths, default=0) + len(read) - len(lengths)


def _most_probable(log_probabilities: Any) -> Any:
    """The greedy token of each row; -1 where a logit is NaN or infinite.

    A row is its logits less the logarithm of their sum, so one NaN or infinity is in all of it.
    """
    mx = modules().mx
    are_numbers = mx.isfinite(log_probabilities.max(-1)) & ~mx.isnan(log_probabilities[..., 0])
    return mx.where(are_numbers, log_probabilities.argmax(-1).astype(mx.int32), -1)


def _memory_error(error: RuntimeError) -> Exception:
    words = str(error).lower()
    if "malloc" in words or "allocate" in words or "memory" in words:
        return OutOfMemoryError(first_line(error))
    return error
