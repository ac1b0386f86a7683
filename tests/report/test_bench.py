"""The bench's tables: figures, what is missing and why, the circumstances."""

import pytest

from braidcheck.report import bench

ENVIRONMENT = {
    "braidcheck": "1.2", "commit": "0123456789abcdef", "driver": "580.1", "started": "2026-11-21T10:00:00+00:00",
    "libraries": {"torch": "2.11", "triton": "3.6", "transformers": "5.17"},
}  # fmt: skip
RATE = {"median": 2345.6, "low": 2300.1, "high": 2399.9}
PLACE = {"batch": 1, "context": 2048, "bytes": 1_427_000_000, "roofline": 2978.0}
DECODE = {
    "device": "A GPU", "copy_bandwidth": 4.249e12, "samples": 5, "tokens": 32,
    "rows": [
        PLACE | {"subject": "braidcheck", "rate": RATE, "of_roofline": 0.7877},
        PLACE | {"subject": "HF generate", "refused": "its logits are 0.6 from HF's in float32"},
        PLACE | {"subject": "HF static", "skipped": "it was not ready within 120 s"},
        PLACE | {"context": 32768, "subject": "braidcheck", "rate": RATE, "of_roofline": 1.0},
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
                "torch.compile": {"skipped": "RuntimeError: no compiler"},
            },
        },
        "op[512 tokens]": {"bytes": 80, "flops": 4 * 10**9, "subjects": {"braidcheck": TIME}},
    },
}  # fmt: skip


def lines(capsys):
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_decode_report_shows_roofline_rates_and_missing(capsys):
    bench.show_decode(DECODE, ENVIRONMENT)
    text = lines(capsys)
    assert "1 2,048 the roofline: 1,427 MB a step 2,978 100%" in text
    assert "braidcheck 2,346 2,300 to 2,400 79%" in text
    assert "HF generate refused" in text
    assert "HF static skipped" in text
    assert any(line.startswith("HF generate at batch 1, context 2048: refused: its logits are 0.6") for line in text)
    assert "HF static at batch 1, context 2048: skipped: it was not ready within 120 s" in text
    assert text.count("braidcheck 2,346 2,300 to 2,400 100%") == 1
    assert any("4,249 GB/s" in line for line in text)
    known = "A GPU, driver 580.1, 2026-11-21, braidcheck 1.2 (0123456789ab), torch 2.11, triton 3.6, transformers 5.17"
    assert text[-1] == known


def test_ops_report_fraction_of_nearer_limit():
    rows = {(row["series"], row["subject"]): row for row in bench.op_rows(OPS)}
    own_cell = rows["op[1 token]", "braidcheck"]
    assert (own_cell["us"], own_cell["low"], own_cell["high"]) == pytest.approx((10, 9.9, 10.251))
    assert own_cell["of_bandwidth"] == pytest.approx(8e11 / 4.2e12)
    assert rows["op[1 token]", "cuBLAS alone"].keys() == {"series", "subject", "refused"}
    assert "so inputs were cached" in rows["op[1 token]", "cuBLAS alone"]["refused"]
    assert rows["op[1 token]", "torch.compile"]["skipped"] == "RuntimeError: no compiler"


def test_ops_are_a_table_of_a_column_a_subject(capsys):
    bench.show_ops(OPS, bench.op_rows(OPS), ENVIRONMENT)
    text = lines(capsys)
    assert "op[shape] braidcheck us of the limit eager cuBLAS alone torch.compile" in text
    assert "op[1 token] 10 (9.9-10.3) 19% BW 15 refused skipped" in text
    assert "op[512 tokens] 10 (9.9-10.3) 57% MM" in text
    assert "torch.compile at op[1 token]: skipped: RuntimeError: no compiler" in text
    assert any(
        line.startswith("cuBLAS alone at op[1 token]: refused: 1905% of the measured bandwidth") for line in text
    )


def test_profile_sums_kernels_by_op(capsys):
    rows = [
        {"op": "head", "kernel": "_head", "launches": 1.0, "microseconds": 90.0},
        {"op": "norm", "kernel": "_norm", "launches": 28.0, "microseconds": 60.0},
        {"op": "norm", "kernel": "_more", "launches": 1.0, "microseconds": 15.0},
    ]
    seen = {
        "device": "A GPU", "batch": 1, "context": 512, "step": {"median": 300.0, "low": 299.0, "high": 310.0},
        "roofline": 280.0, "serial": False, "rows": rows,
    }  # fmt: skip
    bench.show_phases(seen, ENVIRONMENT)
    text = lines(capsys)
    assert "head 90.0 30% _head 1 90.0" in text
    assert "norm 75.0 25% _norm 28 60.0" in text
    assert "_more 1 15.0" in text
    assert any(
        "a step takes 300.0 us (299.0 to 310.0), its kernels 165.0 us together, the roofline is 280.0" in x
        for x in text
    )
    assert not any("kernel by kernel" in line for line in text)
    bench.show_phases(seen | {"serial": True}, ENVIRONMENT)
    assert any("launched kernel by kernel" in line for line in lines(capsys))


def test_prefill_shows_both(capsys):
    rows = [
        {"tokens": 4096, "subject": "braidcheck", "rate": RATE, "of_gemm_peak": 0.31},
        {"tokens": 4096, "subject": "HF transformers", "skipped": "OutOfMemoryError: too large"},
    ]
    bench.show_prefill({"device": "A GPU", "gemm_peak": 7e14, "samples": 5, "rows": rows}, ENVIRONMENT)
    text = lines(capsys)
    assert "4,096 braidcheck 2,346 2,300 to 2,400 31%" in text
    assert "HF transformers skipped" in text
    assert "HF transformers at tokens 4096: skipped: OutOfMemoryError: too large" in text
