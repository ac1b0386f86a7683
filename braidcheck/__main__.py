"""``python -m braidcheck``."""

from braidcheck.cli import main

raise SystemExit(main())
