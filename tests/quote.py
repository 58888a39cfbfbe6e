"""Puts the files that the documentation quotes into it: `python -m tests.quote`."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Every page of docs/."""
    for page in (ROOT / "docs").glob("*.md"):
        text = re.sub(
            r"(<!-- (tests/\S+) -->\n).*?(<!-- /\2 -->)",
            lambda m: f"{m[1]}```python\n{(ROOT / m[2]).read_text('utf-8')}```\n{m[3]}",
            page.read_text("utf-8"),
            flags=re.DOTALL,
        )
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
