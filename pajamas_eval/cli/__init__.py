"""The command line; engines and heavy libraries are imported only where they are needed."""

import signal
import threading
from typing import Any

import click

from pajamas_eval import __version__
from pajamas_eval.cli.evaluation import compare, run
from pajamas_eval.cli.gate import gate
from pajamas_eval.cli.listing import doctor, list_
from pajamas_eval.cli.plan import plan
from pajamas_eval.cli.store import runs, show, store
from pajamas_eval.errors import PajamasError

INTERRUPTED = 130
"""Exit code, as shells have it for a program ended by Ctrl-C."""


TERMINATED = 143
"""Exit code, as shells have it for a program ended by SIGTERM."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM: to be met wherever Ctrl-C is."""


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


class _Group(click.Group):
    """Shows every error of ours as one line, with the exit code it carries."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PajamasError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as interrupt:  # click's exit code, 1, means "proven worse" here
            terminated = isinstance(interrupt, _Terminated)
            notes = getattr(interrupt, "__notes__", ())
            click.echo("; ".join(["Terminated" if terminated else "Interrupted", *notes]), err=True)
            ctx.exit(TERMINATED if terminated else INTERRUPTED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pajamas-eval")
def main() -> None:
    """Compare quantized variants of a model on identical questions, whatever engine runs them."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


for _command in (compare, run, gate, plan, runs, show, store, list_, doctor):
    main.add_command(_command)
