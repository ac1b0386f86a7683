"""``python -m braidcheck``, and the command ``braidcheck``."""

import signal
import sys


def main() -> int:
    """Run the command line and return its exit code; Ctrl-C prints one line, also during import and shutdown."""
    try:
        from braidcheck.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("braidcheck: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    raise SystemExit(main())
