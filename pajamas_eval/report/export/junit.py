"""What a gate says, as JUnit XML: a suite for each variant, a case for each requirement."""

from collections.abc import Sequence
from io import BytesIO

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from pajamas_eval.gate.findings import Finding, Outcome, by_variant
from pajamas_eval.report.wording.figures import printable
from pajamas_eval.report.wording.gate import sentence, subject


def junit(findings: Sequence[Finding]) -> bytes:
    """The XML. Undecided is a failure too: whatever is not proven must not look green."""
    xml = JUnitXml("pajamas-eval gate")
    for label, of_variant in by_variant(findings).items():
        suite = TestSuite(_text(label))
        suite.add_testcases([_case(finding) for finding in of_variant])
        xml.add_testsuite(suite)
    stream = BytesIO()
    xml.write(stream)
    return stream.getvalue()


def _case(finding: Finding) -> TestCase:
    case = TestCase(_text(subject(finding.requirement)), classname=_text(finding.label))
    if finding.outcome is not Outcome.PASSED:
        kind = Error if finding.outcome is Outcome.NOT_MEASURED else Failure
        case.result = [kind(_text(sentence(finding)), finding.outcome)]
    return case


def _text(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return printable(text).translate({0xFFFE: "�", 0xFFFF: "�"})
