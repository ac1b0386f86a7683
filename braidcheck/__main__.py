"""``python -m braidcheck``, and the command ``braidcheck``."""

import sys

from braidcheck.processes import ignore_signals, interrupt_on_signals


def main() -> int:
    """Run the command line and return its exit code; Ctrl-C and SIGTERM print one line, also during import."""
    interrupt_on_signals()
    try:
        from braidcheck.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("braidcheck: interrupted", file=sys.stderr)
        return 130
    finally:
        ignore_signals()


if __name__ == "__main__":
    raise SystemExit(main())
