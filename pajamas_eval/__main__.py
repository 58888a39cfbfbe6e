"""The command itself, for `pajamas-eval` and `python -m pajamas_eval`."""

import signal


def main() -> None:
    """Runs the command line."""
    # While it is being imported there is nothing to tidy up, and no traceback to show.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pajamas_eval.cli import main as command

    command(prog_name="pajamas-eval")


if __name__ == "__main__":
    main()
