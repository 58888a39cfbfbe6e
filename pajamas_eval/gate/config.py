"""Gate files: what is required of a variant and, if need be, the run that measures it."""

import reprlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from pajamas_eval.api.benchmark import SHOT_SEED
from pajamas_eval.api.requests import LogLikelihood
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.questions.registry import benchmark

SIZE_LIMIT_BYTES = 100_000
"""A gate has a page at most; a file this large is something else."""

Points = Annotated[float, Meta(gt=0, lt=100)]
Confidence = Annotated[float, Meta(gt=0.5, le=0.999999)]
"""A one-sided test at 0.5 or less would prove a loss and its absence from the same answers."""
Count = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables of a gate file."""


AnyTable = TypeVar("AnyTable", bound=Table)


class BenchmarkGate(Table, frozen=True):
    """What is required on one benchmark; what is not given here is the gate's own.

    Attributes:
        margin: Loss against the baseline that is still no worse, in points.
        confidence: One-sided, of everything proven on this benchmark.
        min_questions: Questions below which nothing is decided.
        metric: Judged for the margin and for flips; the headline metric by default.
        max_mean_kl: Ceiling of the mean KL divergence over the choices, in nats per question.
        max_flips: Ceiling of the questions that only one of the two has right, in percent.
    """

    margin: Points | None = None
    confidence: Confidence | None = None
    min_questions: Count | None = None
    metric: str | None = None
    max_mean_kl: Positive | None = None
    max_flips: Annotated[float, Meta(gt=0, lt=100)] | None = None


class Gate(Table, frozen=True):
    """What is required of every variant.

    Attributes:
        confidence: One-sided, of everything proven from questions; more than 0.5.
        margin: Loss that is still no worse, in points: required on every benchmark that was run.
        min_questions: Questions of a benchmark below which nothing is decided.
        min_tokens_per_second: On the slowest benchmark.
        min_speed_ratio: Tokens per second over the baseline's, on the slowest benchmark.
        max_peak_memory_gb: Most that the model's process ever held, in units of 10⁹ bytes.
        max_memory_ratio: The same over the baseline's.
        max_size_gb: Size of the weights on disk, in units of 10⁹ bytes.
        max_size_ratio: The same over the baseline's.
        benchmarks: Requirements of single benchmarks; each of these must have been run.
    """

    confidence: Confidence = 0.95
    margin: Points | None = None
    min_questions: Count = 1
    min_tokens_per_second: Positive | None = None
    min_speed_ratio: Positive | None = None
    max_peak_memory_gb: Positive | None = None
    max_memory_ratio: Positive | None = None
    max_size_gb: Positive | None = None
    max_size_ratio: Positive | None = None
    benchmarks: dict[str, BenchmarkGate] = {}

    def cost_limits(self) -> dict[str, float]:
        """The floors and ceilings of speed, memory and size that are set, by name."""
        limits = {
            "min_tokens_per_second": self.min_tokens_per_second,
            "min_speed_ratio": self.min_speed_ratio,
            "max_peak_memory_gb": self.max_peak_memory_gb,
            "max_memory_ratio": self.max_memory_ratio,
            "max_size_gb": self.max_size_gb,
            "max_size_ratio": self.max_size_ratio,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}


class Run(Table, frozen=True):
    """What to run; names and defaults are those of the command's options.

    Attributes:
        models: As typed on a command line; paths are relative to the gate file.
        baseline: Label of the model to compare with; the first by default.
        benchmarks: Those that the gate names by default.
        limit: Questions per benchmark.
        shots: Few-shot examples; each benchmark's own number by default.
        seed: Of the subset and of the few-shot choice.
        data: Folder with data sets, relative to the gate file.
        apply_chat_template: Ask through the baseline's chat template.
        exact: Run one sequence at a time.
        until_decided: Ask in random order, and only until the verdict at the gate's margin is in.
    """

    models: Annotated[list[str], Meta(min_length=2)]
    baseline: str | None = None
    benchmarks: list[str] = []
    limit: Count | None = None
    shots: Annotated[int, Meta(ge=0)] | None = None
    seed: int = SHOT_SEED
    data: str | None = None
    apply_chat_template: bool = False
    exact: bool = False
    until_decided: bool = False


class GateFile(Table, frozen=True):
    """A gate, and the run that it judges where the file is used as a configuration."""

    gate: Gate
    run: Run | None = None


def read(path: Path) -> GateFile:
    """Reads a gate file. Raises `UsageError`, in one line, for anything wrong with it."""
    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise UsageError(f"{path}: too large for a gate file, over {SIZE_LIMIT_BYTES} bytes")
        return _parse(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except RecursionError:
        raise UsageError(f"{path}: its values are nested too deep") from None
    except ValueError as error:  # not UTF-8, not TOML, or an integer of thousands of digits
        raise UsageError(f"{path}: not TOML: {error}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _parse(raw: dict[str, Any]) -> GateFile:
    gate = raw.get("gate")
    benchmarks = gate.get("benchmarks") if isinstance(gate, dict) else None
    # The innermost first: msgspec says of an entry of a dictionary only that it is one.
    for name, table in benchmarks.items() if isinstance(benchmarks, dict) else ():
        _convert(table, BenchmarkGate, f"gate.benchmarks.{name}")
    for name, kind in (("gate", Gate), ("run", Run)):
        if name in raw:
            _convert(raw[name], kind, name)
    file = _convert(raw, GateFile, "")
    _check(file.gate)
    check_early_stop(file.gate, file.run is not None and file.run.until_decided)
    return file


def _convert(table: object, kind: type[AnyTable], name: str) -> AnyTable:
    known = [field.name for field in msgspec.structs.fields(kind)]
    entries = table if isinstance(table, dict) else {}
    for key in entries:
        if key not in known:
            place = f"[{name}]" if name else "a gate file"
            raise UsageError(f"{place} has no key {reprlib.repr(key)}{suggestion(key, known)}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).replace(" | null", "").partition(" - at ")
        key = where.strip("`").removeprefix("$").removeprefix(".")
        place = ".".join(part for part in (name, key) if part)
        given = f" = {reprlib.repr(entries[key])}" if key in entries else ""
        said = f"{place}{given}: {what[0].lower()}{what[1:]}".removeprefix(": ")
        raise UsageError(said) from None


def _check(gate: Gate) -> None:
    """Refuses what is a gate by its form, and could never pass or never fail."""
    if gate.margin is None and not gate.benchmarks and not gate.cost_limits():
        raise UsageError("[gate] requires nothing; give it a margin, or a benchmark with one")
    for name, table in gate.benchmarks.items():
        asked = benchmark(name)
        place = f"[gate.benchmarks.{name}]"
        if table.metric is not None and table.metric not in asked.metrics:
            raise UsageError(
                f"{place}: {name} has no metric {table.metric!r}"
                f"{suggestion(table.metric, asked.metrics)} (it has {', '.join(asked.metrics)})"
            )
        if table.max_mean_kl is not None and asked.request_type is not LogLikelihood:
            raise UsageError(
                f"{place}: max_mean_kl is over the choices of a question, and {name} has none"
            )
        if all(v is None for v in (table.margin, gate.margin, table.max_mean_kl, table.max_flips)):
            raise UsageError(f"{place} requires nothing; give it margin, max_mean_kl or max_flips")


def check_early_stop(gate: Gate, until_decided: bool) -> None:
    """Raises `UsageError` where a run that stops at one margin leaves more to be decided."""
    if until_decided and (gate.margin is None or gate.min_questions > 1 or gate.benchmarks):
        raise UsageError(
            "until_decided stops at the one margin of [gate]; it takes no min_questions and no "
            "[gate.benchmarks]"
        )


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a gate file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(GateFile),
    }
