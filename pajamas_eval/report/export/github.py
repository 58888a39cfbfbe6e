"""What a gate says, where GitHub Actions shows it: a step's summary and annotations."""

import re
from collections.abc import Iterator, Sequence

from pajamas_eval.gate.findings import Finding, Outcome, by_variant
from pajamas_eval.report.wording.figures import printable
from pajamas_eval.report.wording.gate import (
    conclusion,
    legend,
    measured,
    required,
    sentence,
    subject,
)


def markdown(findings: Sequence[Finding], baseline: str) -> str:
    """A table for each variant."""
    lines = []
    for label, of_variant in by_variant(findings).items():
        lines += [
            f"### {_cell(conclusion(label, of_variant))}",
            "",
            f"Against {_cell(baseline)}:",
            "",
            "| requirement | measured | required | verdict | |",
            "|---|---|---|---|---|",
        ]
        for finding in of_variant:
            cells = (
                subject(finding.requirement),
                measured(finding),
                required(finding.requirement),
                finding.outcome,
                finding.reason,
            )
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        lines.append("")
    for line in legend(findings):
        lines += [_cell(line), ""]
    return "\n".join(lines) + "\n"


def annotations(findings: Sequence[Finding]) -> Iterator[str]:
    """A workflow command for each requirement that is not passed: errors are proven."""
    for finding in findings:
        if finding.outcome is not Outcome.PASSED:
            command = "error" if finding.outcome is Outcome.FAILED else "warning"
            title = _escaped(f"{finding.label}: {subject(finding.requirement)}")
            title = title.replace(":", "%3A").replace(",", "%2C")
            yield f"::{command} title={title}::{_escaped(sentence(finding))}"


def _cell(text: str) -> str:
    """Foreign text on one line, each mark that Markdown or HTML could read as its entity."""
    line = " ".join(printable(text).split())
    return re.sub(r"[!\"#$&'*/:;<=>?@\[\\\]^_`{|}~]", lambda mark: f"&#{ord(mark[0])};", line)


def _escaped(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
