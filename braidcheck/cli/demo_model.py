"""The coherence gate on a short part of the embedded model's golden: one line of JSON, for ``braidcheck demo``.

Run as ``python -m braidcheck.cli.demo_model`` from the tree under test, with TRITON_INTERPRET set.
"""

from __future__ import annotations

import json

TOKENS = 1000  # of the golden's shortest documents: the minimum for its checks


def main() -> None:
    """Print ``failed``, the messages of failing checks, the ``ops`` to blame, and the ``blame`` as text."""
    from braidcheck.gates import coherence
    from braidcheck.gates.coherence.blame import find_blame
    from braidcheck.gates.coherence.measure import measure_coherence
    from braidcheck.golden import subset
    from braidcheck.golden.resolve import resolve
    from braidcheck.models.engine import Engine
    from braidcheck.result import Status
    from braidcheck.settings import CORPUS, NANO

    directory, whole = resolve(NANO, CORPUS, None, "cpu")
    golden = subset.shortest(whole, TOKENS, answers=0, steps=0)
    engine = Engine.load(directory, "cpu")
    evidence = measure_coherence(engine, golden)
    failed = [verdict for verdict in coherence.evaluate(evidence) if verdict.status == Status.FAIL]
    blame = find_blame(engine, whole, coherence.failing(evidence), coherence.failing) if failed else None
    result = {
        "failed": [f"{verdict.subject}: {verdict.message}" for verdict in failed[:2]],
        "ops": blame["ops"] if blame else [],
        "blame": coherence.describe_blame(blame) if blame else "",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
