"""What a gate says, on the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pajamas_eval.gate.findings import Finding, by_variant
from pajamas_eval.report.terminal.tables import say, show_title
from pajamas_eval.report.wording import comparison as sentences
from pajamas_eval.report.wording.figures import printable
from pajamas_eval.report.wording.gate import conclusion, legend, measured, required, subject
from pajamas_eval.report.wording.suspicion import suspicions
from pajamas_eval.results.document import Document


def show(document: Document, findings: Sequence[Finding], console: Console) -> None:
    """How the run went, every requirement of each variant, why some are open, and the end."""
    for line in sentences.of_run(document):
        _say(line, console)
    console.print()
    for label, of_variant in by_variant(findings).items():
        show_title(f"Gate: {label} against {document.baseline}", console)
        console.print(_table(of_variant))
        for finding in of_variant:
            if finding.reason:
                _say(f"{subject(finding.requirement)}: {finding.reason}.", console)
        console.print()
    for line in legend(findings):
        _say(line, console)
        console.print()
    for line in suspicions(document):
        _say(line, console)
        console.print()
    for label, of_variant in by_variant(findings).items():
        _say(conclusion(label, of_variant), console)


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("requirement", overflow="fold")
    table.add_column(r"measured \[bounds]")
    table.add_column("required")
    table.add_column("verdict", no_wrap=True)
    for finding in findings:
        table.add_row(
            printable(subject(finding.requirement), markup=True),
            printable(measured(finding), markup=True),
            required(finding.requirement),
            finding.outcome,
        )
    return table


def _say(line: str, console: Console) -> None:
    say(printable(line), console)
