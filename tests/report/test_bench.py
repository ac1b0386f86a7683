"""The bench's tables: figures, what is missing and why, the circumstances."""

import pytest

from braidcheck.report import bench

ENVIRONMENT = {
    "braidcheck": "1.2", "commit": "0123456789abcdef", "driver": "580.1", "started": "2026-11-21T10:00:00+00:00",
    "libraries": {"torch": "2.11", "triton": "3.6", "transformers": "5.17"},
}  # fmt: skip
RATE = {"median": 2345.6, "low": 2300.1, "high": 2399.9}
PLACE = {"batch": 1, "context": 2048, "bytes": 1_427_000_000, "wall": 2978.0}
DECODE = {
    "device": "A GPU", "copy_bandwidth": 4.249e12, "samples": 5, "tokens": 32,
    "rows": [
        PLACE | {"subject": "braidcheck", "rate": RATE, "of_wall": 0.7877},
        PLACE | {"subject": "HF generate", "refused": "its logits are 0.6 from HF's in float32"},
        PLACE | {"subject": "HF static", "not_judged": "it was not ready within 120 s"},
        PLACE | {"context": 32768, "subject": "braidcheck", "rate": RATE, "of_wall": 1.0},
    ],
}  # fmt: skip
TIME = {"seconds": 1e-5, "low": 0.99e-5, "high": 1.0251e-5, "kept": 5}
OPS = {
    "device": "A GPU", "limits": {"copy": 4e12, "read": 4.2e12, "matrix": 7e14},
    "series": {
        "op[1 token]": {
            "bytes": 8_000_000, "flops": 10**9,
            "subjects": {
                "braidcheck": TIME, "eager": TIME | {"seconds": 1.5e-5}, "cuBLAS alone": TIME | {"seconds": 1e-7},
                "torch.compile": {"not_judged": "RuntimeError: no compiler"},
            },
        },
        "op[512 tokens]": {"bytes": 80, "flops": 4 * 10**9, "subjects": {"braidcheck": TIME}},
    },
}  # fmt: skip


def lines(capsys):
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_decode_shows_the_wall_the_figures_and_what_is_missing(capsys):
    bench.show_decode(DECODE, ENVIRONMENT)
    said = lines(capsys)
    assert "1 2,048 the wall: 1,427 MB a step 2,978 100%" in said
    assert "braidcheck 2,346 2,300 to 2,400 79%" in said
    assert "HF generate refused" in said
    assert "HF static not judged" in said
    assert any(line.startswith("HF generate at batch 1, context 2048: refused: its logits are 0.6") for line in said)
    assert "HF static at batch 1, context 2048: not judged: it was not ready within 120 s" in said
    assert said.count("braidcheck 2,346 2,300 to 2,400 100%") == 1
    assert any("4,249 GB/s" in line for line in said)
    known = "A GPU, driver 580.1, 2026-11-21, braidcheck 1.2 (0123456789ab), torch 2.11, triton 3.6, transformers 5.17"
    assert said[-1] == known


def test_ops_are_told_with_their_share_of_the_nearer_limit():
    rows = {(row["series"], row["subject"]): row for row in bench.op_rows(OPS)}
    ours = rows["op[1 token]", "braidcheck"]
    assert (ours["us"], ours["low"], ours["high"]) == pytest.approx((10, 9.9, 10.251))
    assert ours["of_bandwidth"] == pytest.approx(8e11 / 4.2e12)
    assert rows["op[1 token]", "cuBLAS alone"].keys() == {"series", "subject", "refused"}
    assert "so inputs were cached" in rows["op[1 token]", "cuBLAS alone"]["refused"]
    assert rows["op[1 token]", "torch.compile"]["not_judged"] == "RuntimeError: no compiler"


def test_ops_are_a_table_of_a_column_a_subject(capsys):
    bench.show_ops(OPS, bench.op_rows(OPS), ENVIRONMENT)
    said = lines(capsys)
    assert "op[shape] braidcheck us of the limit eager cuBLAS alone torch.compile" in said
    assert "op[1 token] 10 (9.9-10.3) 19% BW 15 refused not judged" in said
    assert "op[512 tokens] 10 (9.9-10.3) 57% MM" in said
    assert "torch.compile at op[1 token]: not judged: RuntimeError: no compiler" in said
    assert any(
        line.startswith("cuBLAS alone at op[1 token]: refused: 1905% of the measured bandwidth") for line in said
    )


def test_phases_are_summed_by_op_beside_the_step(capsys):
    rows = [
        {"op": "head", "kernel": "_head", "launches": 1.0, "microseconds": 90.0},
        {"op": "norm", "kernel": "_norm", "launches": 28.0, "microseconds": 60.0},
        {"op": "norm", "kernel": "_more", "launches": 1.0, "microseconds": 15.0},
    ]
    seen = {
        "device": "A GPU", "batch": 1, "context": 512, "step": {"median": 300.0, "low": 299.0, "high": 310.0},
        "wall": 280.0, "serial": False, "rows": rows,
    }  # fmt: skip
    bench.show_phases(seen, ENVIRONMENT)
    said = lines(capsys)
    assert "head 90.0 30% _head 1 90.0" in said
    assert "norm 75.0 25% _norm 28 60.0" in said
    assert "_more 1 15.0" in said
    assert any(
        "a step takes 300.0 us (299.0 to 310.0), its kernels 165.0 us together, the wall is 280.0" in x for x in said
    )
    assert not any("kernel by kernel" in line for line in said)
    bench.show_phases(seen | {"serial": True}, ENVIRONMENT)
    assert any("launched kernel by kernel" in line for line in lines(capsys))


def test_prefill_shows_both(capsys):
    rows = [
        {"tokens": 4096, "subject": "braidcheck", "rate": RATE, "of_matrix_rate": 0.31},
        {"tokens": 4096, "subject": "HF transformers", "not_judged": "OutOfMemoryError: too large"},
    ]
    bench.show_prefill({"device": "A GPU", "matrix_rate": 7e14, "samples": 5, "rows": rows}, ENVIRONMENT)
    said = lines(capsys)
    assert "4,096 braidcheck 2,346 2,300 to 2,400 31%" in said
    assert "HF transformers not judged" in said
    assert "HF transformers at tokens 4096: not judged: OutOfMemoryError: too large" in said
