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


if __name__ == "__main__":
    main()
