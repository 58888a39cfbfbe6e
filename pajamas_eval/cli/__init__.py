"""The command line; engines and heavy libraries are imported only where they are needed."""

import errno
import sys
import threading
from contextlib import nullcontext
from typing import Any

import click

from pajamas_eval.cli import interrupts
from pajamas_eval.cli.compare import compare
from pajamas_eval.cli.doctor import doctor
from pajamas_eval.cli.gate import gate
from pajamas_eval.cli.list import list_
from pajamas_eval.cli.output import drop_output
from pajamas_eval.cli.plan import plan
from pajamas_eval.cli.run import run
from pajamas_eval.cli.runs import runs, show
from pajamas_eval.cli.store import store
from pajamas_eval.cli.verify import verify
from pajamas_eval.errors import PajamasError

INTERRUPTED = 130
"""Exit code, as shells have it for a program ended by Ctrl-C."""

TERMINATED = 143
"""Exit code, as shells have it for a program ended by SIGTERM."""

PIPE_CLOSED = 141
"""Exit code, as shells have it for a program whose output nobody reads any more."""

_LONGEST = 5000
"""Characters of an error that are shown: it may quote what is wrong."""


class _Group(click.Group):
    """Shows every error of ours as one line, with the exit code it carries."""

    def invoke(self, ctx: click.Context) -> Any:
        in_main_thread = threading.current_thread() is threading.main_thread()
        with interrupts.raised() if in_main_thread else nullcontext():
            try:
                try:
                    return super().invoke(ctx)
                finally:
                    sys.stdout.flush()  # where it fails, that is to be met here
            except PajamasError as error:
                _say(f"Error: {error}")
                ctx.exit(error.exit_code)
            except OSError as error:
                drop_output()
                if error.errno == errno.EPIPE:
                    ctx.exit(PIPE_CLOSED)
                _say(f"Error: cannot read or write {error.filename or 'the output'}: {error}")
                ctx.exit(PajamasError.exit_code)
            except KeyboardInterrupt as interrupt:  # click's exit code, 1, means "proven worse"
                terminated = isinstance(interrupt, interrupts.Terminated)
                notes = getattr(interrupt, "__notes__", ())
                _say("; ".join(["Terminated" if terminated else "Interrupted", *notes]))
                ctx.exit(TERMINATED if terminated else INTERRUPTED)


def _say(text: str) -> None:
    from pajamas_eval.report.wording.figures import printable_lines

    click.echo(printable_lines(text[:_LONGEST]), err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pajamas-eval", prog_name="pajamas-eval")
def main() -> None:
    """Compare quantized variants of a model on identical questions, whatever engine runs them."""


for _command in (compare, run, gate, verify, plan, runs, show, store, list_, doctor):
    main.add_command(_command)
