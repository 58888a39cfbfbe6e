"""How far honest variants diverge, by bits per weight: what the limits of alarms are drawn from.

    python -m tests.survey.divergence BASELINE VARIANT… [--benchmarks NAMES] [--same LABEL…]

Models are typed as for `compare`. A line for each benchmark and variant says its bits per weight
and its mean KL over the choices with the 90 % interval; the last lines say by how many times, at
the most, a variant with more bits diverges more than one with fewer.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from pajamas_eval.analysis.suspicion import LEAST_NATS, MORE_BITS
from pajamas_eval.results.document import Document
from pajamas_eval.results.file import read

COMMAND = Path(sys.executable).with_name("pajamas-eval")


def compared(models: list[str], benchmarks: str, same: list[str]) -> Document:
    """What `compare` finds, from the store where it can be."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        weights = [option for label in same for option in ("--same-weights", label)]
        asked = ["--benchmarks", benchmarks, "--json", str(out), *weights]
        subprocess.run([COMMAND, "compare", *models, *asked], check=True, stdout=subprocess.DEVNULL)
        return read(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--benchmarks", default="pajamas_knowledge,pajamas_commonsense")
    parser.add_argument("--same", nargs="*", default=[])
    asked = parser.parse_args()
    document = compared(asked.models, asked.benchmarks, asked.same)
    bits = {m.label: m.identity.bits_per_weight or 0.0 for m in document.models if m.identity}
    for record in document.benchmarks:
        found = {
            c.label: c.choice_kl
            for c in document.comparisons
            if c.benchmark == record.name and c.metric == record.headline.name and c.choice_kl
        }
        for label, kl in sorted(found.items(), key=lambda pair: -bits[pair[0]]):
            print(
                f"{record.name}  {label:20}  {bits[label]:5.2f} bits  {kl.mean:.5f} nats "
                f"[{kl.lower or 0.0:.5f}, {kl.upper or 0.0:.5f}]"
            )
        ratios = [
            (found[more].mean / found[fewer].mean, more, fewer)
            for more in found
            for fewer in found
            if bits[more] >= bits[fewer] + MORE_BITS and found[more].mean > LEAST_NATS
        ]
        if ratios:
            ratio, more, fewer = max(ratios)
            print(f"{record.name}  {more} diverges {ratio:.2f} times as much as {fewer}")
    for alarm in document.suspicions:
        print(f"ALARM  {alarm.benchmark}  {alarm.label}: {alarm.kind}")


if __name__ == "__main__":
    main()
