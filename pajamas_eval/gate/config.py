"""Gate files: what is required of a variant and, if need be, the run that measures it."""

import reprlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from pajamas_eval.api.metrics import POINTS, Margin, Metric
from pajamas_eval.api.multiple_choice import SOFT_ACCURACY
from pajamas_eval.errors import UsageError, suggestion
from pajamas_eval.questions.registry import benchmark
from pajamas_eval.results.run_config import Confidence, Count, RunPlan

SIZE_LIMIT_BYTES = 100_000
"""A gate has a page at most; a file this large is something else."""

GATES_OWN = {"confidence", "margins", "equivalence"}
"""Options of a run that a gate says itself."""

Points = Annotated[float, Meta(gt=0, lt=100)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables of a gate file."""


AnyTable = TypeVar("AnyTable", bound=msgspec.Struct)


class BenchmarkGate(Table, frozen=True):
    """What is required on one benchmark; what is not given here is the gate's own.

    Attributes:
        margin: Loss against the baseline that is still no worse: in points, for a ratio such as
            perplexity in percent, else in the metric's own unit.
        confidence: One-sided, of everything proven on this benchmark.
        min_questions: Questions below which nothing is decided.
        measure: `soft` judges soft accuracy, in the place of a metric that is named.
        metric: Judged for the margin and for flips; the headline metric by default.
        max_mean_kl: Ceiling of the mean KL divergence over the choices, in nats per question.
        max_flips: Ceiling of the questions that only one of the two has right, in percent.
    """

    margin: Positive | None = None
    confidence: Confidence | None = None
    min_questions: Count | None = None
    measure: Literal["soft"] | None = None
    metric: str | None = None
    max_mean_kl: Positive | None = None
    max_flips: Annotated[float, Meta(gt=0, lt=100)] | None = None

    @property
    def wanted(self) -> str | None:
        """The name of the metric that is judged; the headline metric if nothing."""
        return SOFT_ACCURACY if self.measure == "soft" else self.metric


class Gate(Table, frozen=True):
    """What is required of every variant.

    Attributes:
        confidence: One-sided, of everything proven from questions; more than 0.5.
        margin: Loss that is still no worse, in points: required on every benchmark that was run
            and is measured in points.
        min_questions: Questions of a benchmark below which nothing is decided.
        min_prompt_tokens_per_second: Distinct tokens read, on the slowest benchmark.
        min_prompt_speed_ratio: The same over the baseline's.
        min_generated_tokens_per_second: Tokens generated, over all texts at once, on the slowest
            benchmark that generates.
        min_generated_speed_ratio: The same over the baseline's.
        max_peak_memory_gb: Most that the model's process ever held, in units of 10⁹ bytes.
        max_memory_ratio: The same over the baseline's.
        max_size_gb: Size of the weights on disk, in units of 10⁹ bytes.
        max_size_ratio: The same over the baseline's.
        equivalence: Whether a variant may not be better by the margin either.
        control: Whether each benchmark with a margin must have called a damaged baseline worse.
        benchmarks: Requirements of single benchmarks; each of these must have been run.
    """

    confidence: Confidence = 0.95
    margin: Points | None = None
    min_questions: Count = 1
    min_prompt_tokens_per_second: Positive | None = None
    min_prompt_speed_ratio: Positive | None = None
    min_generated_tokens_per_second: Positive | None = None
    min_generated_speed_ratio: Positive | None = None
    max_peak_memory_gb: Positive | None = None
    max_memory_ratio: Positive | None = None
    max_size_gb: Positive | None = None
    max_size_ratio: Positive | None = None
    equivalence: bool = False
    control: bool = False
    benchmarks: dict[str, BenchmarkGate] = {}

    def cost_limits(self) -> dict[str, float]:
        """The floors and ceilings of speed, memory and size that are set, by name."""
        limits = {
            "min_prompt_tokens_per_second": self.min_prompt_tokens_per_second,
            "min_prompt_speed_ratio": self.min_prompt_speed_ratio,
            "min_generated_tokens_per_second": self.min_generated_tokens_per_second,
            "min_generated_speed_ratio": self.min_generated_speed_ratio,
            "max_peak_memory_gb": self.max_peak_memory_gb,
            "max_memory_ratio": self.max_memory_ratio,
            "max_size_gb": self.max_size_gb,
            "max_size_ratio": self.max_size_ratio,
        }
        return {name: limit for name, limit in limits.items() if limit is not None}


class RunTable(RunPlan, kw_only=True, forbid_unknown_fields=True):
    """What to run; names and defaults are those of the command's options.

    Paths are relative to the gate file, benchmarks are those that the gate names by default, and
    there are two models at least. Margins and confidence are the gate's own.
    """


class GateFile(Table, frozen=True):
    """A gate, and the run that it judges where the file is used as a configuration."""

    gate: Gate
    run: RunTable | None = None


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
    for name, kind in (("gate", Gate), ("run", RunTable)):
        if name in raw:
            _convert(raw[name], kind, name)
    file = _convert(raw, GateFile, "")
    _check(file.gate)
    _check_run(raw.get("run", {}), file.run)
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
        metric = _judged(name, table)
        if table.margin is not None:
            try:
                metric.margin_size(Margin(table.margin, metric.margin_unit))
            except UsageError as error:
                raise UsageError(f"{place}: {error}") from None
        if table.max_flips is not None and metric.kind != "binary":
            raise UsageError(f"{place}: max_flips is for right and wrong; {metric.name} is neither")
        if table.max_mean_kl is not None and not asked.has_choices:
            raise UsageError(
                f"{place}: max_mean_kl is over the choices of a question, and {name} has none"
            )
        if all(v is None for v in (table.margin, gate.margin, table.max_mean_kl, table.max_flips)):
            raise UsageError(f"{place} requires nothing; give it margin, max_mean_kl or max_flips")


def _check_run(table: dict[str, Any], run: RunTable | None) -> None:
    for name in sorted(GATES_OWN & table.keys()):
        raise UsageError(f"run.{name}: give the {name.rstrip('s')} in [gate]")
    if run and len(run.models) < 2:
        raise UsageError(f"run.models = {run.models!r}: name a baseline and a variant at least")


def check_early_stop(gate: Gate, until_decided: bool) -> None:
    """Raises `UsageError` where a run that stops at one margin leaves more to be decided."""
    if until_decided and gate.equivalence:
        raise UsageError("equivalence takes all questions, and until_decided asks some")
    if until_decided and (gate.margin is None or gate.min_questions > 1 or gate.benchmarks):
        raise UsageError(
            "until_decided stops at the one margin of [gate]; it takes no min_questions and no "
            "[gate.benchmarks]"
        )


def margins_of(gate: Gate) -> tuple[Margin, ...]:
    """The gate's margins, each in its unit: for a run that is to be judged."""
    margins = [Margin(gate.margin)] if gate.margin is not None else []
    for name, table in gate.benchmarks.items():
        unit = _judged(name, table).margin_unit
        if table.margin is not None and unit != POINTS:
            margins.append(Margin(table.margin, unit))
    return tuple(margins)


def _judged(name: str, table: BenchmarkGate) -> Metric:
    """The metric that a table is about. Raises `UsageError`."""
    asked = benchmark(name)
    metrics = {metric.name: metric for metric in asked.metrics}
    if table.metric is not None and table.measure is not None:
        raise UsageError(f"[gate.benchmarks.{name}]: give metric or measure, not both")
    wanted = table.wanted
    if wanted is not None and wanted not in metrics:
        raise UsageError(
            f"[gate.benchmarks.{name}]: {name} has no metric {wanted!r}"
            f"{suggestion(wanted, metrics)} (it has {', '.join(metrics)})"
        )
    return metrics[wanted] if wanted else asked.metrics[0]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a gate file."""
    schema = msgspec.json.schema(GateFile)
    run = schema["$defs"][RunTable.__name__]["properties"]
    for name in GATES_OWN:
        del run[name]
    run["models"]["minItems"] = 2
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
