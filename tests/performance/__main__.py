"""Measures pajamas-eval against its peers: same files, threads and questions, taking turns.

    python -m tests.performance --data FOLDER --tokenizer FOLDER [--only NAME] [--out FILE]

Every contestant is a process of its own that loads its model, warms up, and then takes the time of
the questions alone. Each round runs ours and then each peer; the table shows medians over the
rounds and ratios of medians. `make performance` prepares what is needed and runs everything.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from pajamas_eval.api.data import DataSource
from tests.performance import workloads
from tests.performance.workloads import Workload

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "performance"
TOOLS = ROOT / "build" / "llama.cpp" / "bin"
PEERS_PYTHON = ROOT / ".venv-lm-eval" / "bin" / "python"
NAIVE_EVERY = 8
"""The naive recipe shares nothing between questions and is slow: each eighth stands for all."""

QUANTIZED_MLX_EVERY = 24
"""MLX's quantized kernels on an x86 CPU take ten seconds for a question."""

LM_EVAL_BATCH = 1
"""Whole sequences of lm-eval's batch: about as many tokens as ours holds."""


@dataclass(frozen=True)
class Peer:
    """Another program and what it is run with; `least` is the ratio that we promise."""

    label: str
    name: str
    arguments: tuple[str, ...] = ()
    least: float | None = None
    elsewhere: bool = False
    """Whether it lives in lm-eval's environment."""


@dataclass(frozen=True)
class Comparison:
    """One workload on one model file."""

    name: str
    title: str
    workload: Callable[[DataSource], Workload]
    runtime: str
    file: str
    peers: Sequence[Peer]


@dataclass
class Outcome:
    """What one contestant's rounds gave."""

    label: str
    seconds: list[float] = field(default_factory=list)
    scoring_seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    answers: list[float | str] = field(default_factory=list)
    every: int = 1
    prompt_tokens: int = 0
    evaluated_tokens: int = 0
    peak_memory_bytes: int = 0


def perplexity(mode: str, context: int, least: float | None) -> Peer:
    program = str(TOOLS / "llama-perplexity")
    return Peer(
        f"llama-perplexity {mode}", "llama_perplexity", (program, mode, str(context)), least
    )


def naive(least: float | None, read: str = "scores") -> Peer:
    return Peer(f"naive `Llama.{read}`", "naive", (read, str(NAIVE_EVERY)), least)


BENCH = Peer("llama-bench -p 512 (limit)", "llama_bench", (str(TOOLS / "llama-bench"),), 0.85)
MMLU_DEPTH = 96
"""Where 512 tokens stand as deep, on average, as the distinct tokens of the MMLU questions."""

DEEP_BENCH = Peer(
    f"llama-bench -p 512 -d {MMLU_DEPTH} (limit, as deep)",
    "llama_bench",
    (str(TOOLS / "llama-bench"), str(MMLU_DEPTH)),
)
LM_EVAL = Peer("lm-eval hf", "lm_eval_hf", (str(LM_EVAL_BATCH),), least=5.0, elsewhere=True)


def mlx_lm(least: float, every: int = 1) -> Peer:
    return Peer("mlx_lm.evaluate", "mlx_lm_evaluate", (str(every),), least, elsewhere=True)


COMPARISONS = [
    Comparison(
        "mmlu-gguf-f16",
        "MMLU 5-shot, gguf F16",
        workloads.mmlu,
        "gguf",
        "f16.gguf",
        [perplexity("--multiple-choice", 512, 3.0), BENCH, DEEP_BENCH, naive(15.0)],
    ),
    Comparison(
        "mmlu-gguf-q4_k_m",
        "MMLU 5-shot, gguf Q4_K_M",
        workloads.mmlu,
        "gguf",
        "q4_k_m.gguf",
        [perplexity("--multiple-choice", 512, 3.0), BENCH, DEEP_BENCH, naive(15.0)],
    ),
    Comparison(
        "hellaswag-gguf-f16",
        "HellaSwag, gguf F16",
        workloads.hellaswag,
        "gguf",
        "f16.gguf",
        [perplexity("--hellaswag", 512, 1.0), naive(None), naive(2.5, "eval_logits")],
    ),
    Comparison(
        "hellaswag-gguf-q4_k_m",
        "HellaSwag, gguf Q4_K_M",
        workloads.hellaswag,
        "gguf",
        "q4_k_m.gguf",
        [perplexity("--hellaswag", 512, 1.0), naive(None), naive(2.5, "eval_logits")],
    ),
    Comparison(
        "mmlu-mlx",
        "MMLU 5-shot, mlx float32",
        workloads.mmlu,
        "mlx",
        "mlx",
        [mlx_lm(5.0)],
    ),
    Comparison(
        "mmlu-mlx-4bit",
        "MMLU 5-shot, mlx 4-bit",
        workloads.mmlu,
        "mlx",
        "mlx-4bit",
        [mlx_lm(5.0, every=QUANTIZED_MLX_EVERY)],
    ),
    Comparison(
        "hellaswag-mlx",
        "HellaSwag, mlx float32",
        workloads.hellaswag,
        "mlx",
        "mlx",
        [mlx_lm(1.5)],
    ),
    Comparison(
        "mmlu-hf",
        "MMLU 5-shot, hf float32",
        workloads.mmlu,
        "hf",
        "hf",
        [LM_EVAL],
    ),
    Comparison(
        "hellaswag-hf",
        "HellaSwag, hf float32",
        workloads.hellaswag,
        "hf",
        "hf",
        [Peer("lm-eval hf", "lm_eval_hf", ("8",), elsewhere=True)],
    ),
    Comparison(
        "gsm8k-gguf-f16",
        "GSM8K 5-shot, same examples, gguf F16",
        workloads.gsm8k_same_examples,
        "gguf",
        "f16.gguf",
        [Peer("create_completion, one at a time", "create_completion", (), least=2.0)],
    ),
    Comparison(
        "gsm8k-own-gguf-f16",
        "GSM8K 5-shot, own examples, gguf F16",
        workloads.gsm8k,
        "gguf",
        "f16.gguf",
        [Peer("create_completion, one at a time", "create_completion")],
    ),
    Comparison(
        "gsm8k-mlx",
        "GSM8K 5-shot, same examples, mlx float32",
        workloads.gsm8k_same_examples,
        "mlx",
        "mlx",
        [
            Peer("stream_generate, one at a time", "mlx_stream", (), 1.5, elsewhere=True),
            Peer("mlx_lm.batch_generate", "mlx_batch", (), None, elsewhere=True),
        ],
    ),
    Comparison(
        "gsm8k-hf",
        "GSM8K 5-shot, same examples, hf float32",
        workloads.gsm8k_same_examples,
        "hf",
        "hf",
        [Peer("generate, one at a time", "transformers_generate")],
    ),
]


def run(command: Sequence[str | Path]) -> dict[str, Any]:
    """The JSON object on the last line that a contestant prints."""
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "TOKENIZERS_PARALLELISM": "true",
    }
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-3000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def measure(comparison: Comparison, data: DataSource, rounds: int) -> list[Outcome]:
    """Ours first, then the peers, each with the medians of its rounds to come."""
    workload = comparison.workload(data)
    file = workload.write(BUILD / "workloads")
    model = BUILD / "models" / comparison.file
    commands = {
        "pajamas-eval": [sys.executable, HERE / "ours.py", comparison.runtime, model, file],
        **{
            peer.label: [
                PEERS_PYTHON if peer.elsewhere else sys.executable,
                HERE / "peers.py",
                peer.name,
                model,
                file,
                *peer.arguments,
            ]
            for peer in comparison.peers
        },
    }
    outcomes = {label: Outcome(label) for label in commands}
    for round_ in range(rounds):
        for label, command in commands.items():
            got = run(command)
            outcome = outcomes[label]
            outcome.answers = got["answers"]
            outcome.every = got.get("every", 1)
            if "seconds" in got:
                shown = len(workload.content["questions"][:: outcome.every])
                outcome.seconds.append(got["seconds"] * workload.size / shown)
                outcome.scoring_seconds.append(got.get("scoring_seconds", got["seconds"]))
                print(
                    f"{comparison.name} round {round_ + 1}: {label}: {outcome.seconds[-1]:.2f} s",
                    file=sys.stderr,
                )
            else:
                outcome.rates.append(got["tokens_per_second"])
                print(
                    f"{comparison.name} round {round_ + 1}: {label}: {outcome.rates[-1]:.0f} /s",
                    file=sys.stderr,
                )
            for name in ("prompt_tokens", "evaluated_tokens", "peak_memory_bytes"):
                setattr(outcome, name, got.get(name, 0))
    return list(outcomes.values())


def ratio(ours: Outcome, peer: Outcome) -> float:
    """How many times faster ours is, or what share of the engine's own rate it reaches.

    The engine's own rate is that of tokens it was handed, so tokenizing does not count there.
    """
    if peer.rates:
        return ours.prompt_tokens / median(ours.scoring_seconds) / median(peer.rates)
    return median(peer.seconds) / median(ours.seconds)


def difference(ours: Outcome, peer: Outcome, choices: int) -> str:
    """How far the answers are apart: proof that both did the same work."""
    if not peer.answers:
        return ""
    mine = [a for i, a in enumerate(ours.answers) if i // choices % peer.every == 0]
    if isinstance(mine[0], str):
        # A random model writes broken UTF-8, and not every peer keeps a leading space.
        same = sum(plain(a) == plain(b) for a, b in zip(mine, peer.answers, strict=True))
        return f"{same} of {len(mine)} texts equal"
    apart = np.abs(np.subtract(mine, peer.answers))
    return f"{np.median(apart):.1g} nats, at most {apart.max():.1g}"


def plain(text: object) -> str:
    """What no two detokenizers write differently."""
    return "".join(c for c in str(text) if " " <= c <= "~").strip()


def rows(comparison: Comparison, outcomes: Sequence[Outcome], choices: int) -> list[str]:
    """The comparison's rows of the table."""
    by_label = {outcome.label: outcome for outcome in outcomes}
    ours = outcomes[0]
    lines = []
    for asked in comparison.peers:
        if asked.label not in by_label:  # measured before this peer was added
            continue
        peer = by_label[asked.label]
        got = ratio(ours, peer)
        measured = (
            f"{median(peer.rates):,.0f} tokens/s" if peer.rates else f"{median(peer.seconds):.1f} s"
        )
        least = "" if asked.least is None else f"{asked.least:g}"
        lines.append(
            f"| {comparison.title} | {median(ours.seconds):.1f} s | {peer.label} | {measured} "
            f"| {got:.2f} | {least} | {difference(ours, peer, choices)} |"
        )
    return lines


@cache
def machine() -> str:
    """Processor, cores and the versions that were measured."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(x.split(":", 1)[1].strip() for x in lines if "model name" in x)
    except (OSError, StopIteration):
        processor = platform.processor()
    packages = ("llama-cpp-python", "mlx", "mlx-lm", "torch", "transformers")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}; {versions}, lm-eval 0.4.13"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data sets")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="folder of SmolLM's tokenizer"
    )
    parser.add_argument("--only", action="append", choices=[c.name for c in COMPARISONS])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only show what was measured before")
    parser.add_argument("--out", type=Path, help="file to write the table to")
    arguments = parser.parse_args()
    subprocess.run(
        [
            sys.executable,
            ROOT / "tests" / "random_model.py",
            arguments.tokenizer,
            BUILD / "models",
            "--shape=small",
            "--quantized",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    data = DataSource(arguments.data)
    table = [
        "| workload | ours | peer | peer's | ratio | at least | answers apart |",
        "|---|---|---|---|---|---|---|",
    ]
    for comparison in COMPARISONS:
        stored = BUILD / "results" / f"{comparison.name}.json"
        chosen = not arguments.only or comparison.name in arguments.only
        if chosen and not arguments.table:
            outcomes = measure(comparison, data, arguments.rounds)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_bytes(msgspec.json.encode(outcomes))
        if stored.exists():  # of this run or an earlier one: each comparison stands by itself
            outcomes = msgspec.json.decode(stored.read_bytes(), type=list[Outcome])
            table += rows(comparison, outcomes, 4)
    text = "\n".join([*table, "", f"Measured on {machine()}.", ""])
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
