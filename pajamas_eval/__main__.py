"""The command itself, for `pajamas-eval` and `python -m pajamas_eval`."""

import os
import signal
import sys

DEFECT = 70
"""Exit code for a defect of this program, as `sysexits.h` has it."""


def main() -> None:
    """Runs the command line.

    Before it begins there is nothing to tidy up for a signal, and no traceback to show; once it is
    over there is nothing to end. In between it meets signals itself.
    """

    _open_closed_streams()

    def end(number: int, frame: object) -> None:
        os._exit(128 + number)

    known = (signal.SIGINT, signal.SIGTERM)
    met = [number for number in known if signal.getsignal(number) != signal.SIG_IGN]  # by nohup
    for number in met:
        signal.signal(number, end)
    from pajamas_eval.cli import main as command

    try:
        command(prog_name="pajamas-eval")
    except Exception:  # Python's own exit code, 1, means "proven worse"
        import traceback

        traceback.print_exc()
        sys.exit(DEFECT)
    finally:
        for number in met:
            signal.signal(number, signal.SIG_IGN)


def _open_closed_streams() -> None:
    """Where the caller closed a standard stream, what goes there goes nowhere.

    Left closed, its number would be given to the next file that is opened, such as the store, and
    what an engine prints would be written into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            mode = os.O_WRONLY if number else os.O_RDONLY
            opened = os.open(os.devnull, mode)  # the lowest number that is free: this one
            assert opened == number
            os.set_inheritable(opened, True)
            setattr(sys, name, os.fdopen(opened, "w" if number else "r", encoding="utf-8"))


if __name__ == "__main__":
    main()
