"""What an engine said before it died."""

import os
import re

TAIL_BYTES = 2000
"""Length of the last words shown where none of them says why."""

_SEARCHED_BYTES = 1_000_000
"""Length of the end of a log that is searched: debuggers print whole stacks after the reason."""

_LONGEST_LINE = 500
"""Characters of a line that are looked at."""

_MOST_REASONS = 3

_REASON = re.compile(
    r"""^[ \t]*(
        .*\.(?:c|cc|cpp|cu|cuh|h|hpp|m|metal|mm):\d+:\ .+  # ggml, llama.cpp
        |CUDA\ error:\ .+
        |.*\bAssertion\b.*\bfailed.*  # C
        |.*\b[Ff]ailed\ assertion\b.*  # Metal
        |Assertion\ failed:\ .+  # C on macOS
        |F\d{4}\ \d\d:\d\d:\d\d.+\]\ .+  # Abseil
        |what\(\):\ .+  # C++, with GNU's library
        |libc\+\+abi:\ .+
        |thread\ .+\ panicked\ at\ .+(?:\n(?!note:).+)?  # Rust
        |Fatal\ Python\ error:\ .+
    )$""",
    re.VERBOSE | re.MULTILINE,
)
"""Lines that say why a process ended itself."""

_PLACE = re.compile(r"^.*/(?=[^/:]+:\d+: )")
"""What comes before the name of a source file: folders of the machine that built the engine."""


def why_it_died(log: int, start: int) -> str:
    """Why a process ended itself, in its own words; its last words where it did not say.

    Args:
        log: Descriptor of the file that it printed to, open for reading.
        start: Where it began to print.

    Returns:
        `: ` and the reason in one line, `; it last said:` and several lines, or nothing.
    """
    lines = _end_of(log, start, _SEARCHED_BYTES).splitlines()
    reasons = _REASON.findall("\n".join(line[:_LONGEST_LINE] for line in lines))
    if not reasons:
        return last_words(log)
    distinct = [" ".join(_PLACE.sub("", r).split()) for r in dict.fromkeys(reasons)]
    return ": " + "; ".join(distinct[-_MOST_REASONS:])


def last_words(log: int) -> str:
    """`; it last said:` and the end of what was printed; empty where that is nothing."""
    tail = _end_of(log, 0, TAIL_BYTES).strip()
    return f"; it last said:\n{tail}" if tail else ""


def _end_of(log: int, start: int, length: int) -> str:
    # Where reading moved the position, the engine, which shares it, would write elsewhere.
    try:
        size = os.fstat(log).st_size
        first = max(start, size - length)
        return os.pread(log, max(0, size - first), first).decode("utf-8", "replace")
    except OSError:
        return ""
