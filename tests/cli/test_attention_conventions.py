"""Attention as other libraries have it: a right function is accepted by the contract with its conventions, a wrong one
is refused."""

import math
from functools import cache

import pytest
import torch

from braidcheck import kernels
from braidcheck.cli.candidate_run import Limits, evaluate
from braidcheck.cli.contract_fit import fit, require_told
from braidcheck.errors import UserError
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import named
from braidcheck.result import Status

pytestmark = pytest.mark.usefixtures("answers")
DECODE, PREFILL, FUSED_DECODE = (
    kernels.find()[name] for name in ("attention_decode", "attention_prefill", "decode_attention")
)


def scores_of(q, k, scale, softcap=0.0, cap_before_scale=False):
    """[Hq,S] of q[Hq,D] and k[S,Hkv,D]."""
    products = torch.einsum("hd,shd->hs", q.float(), k.float().repeat_interleave(len(q) // k.shape[1], 1))
    if cap_before_scale:
        return softcap * torch.tanh(products / softcap) * scale
    return softcap * torch.tanh(products * scale / softcap) if softcap else products * scale


def attend(scores, v, narrow=False):
    p = torch.softmax(scores, -1)
    p = p.to(v.dtype).float() if narrow else p
    return torch.einsum("hs,shd->hd", p, v.float().repeat_interleave(len(p) // v.shape[1], 1)).to(v.dtype)


def log_sum_exp(scores):
    return torch.logsumexp(scores, -1)


def without_maximum(scores):
    return torch.exp(scores - scores.amax(-1, keepdim=True)).sum(-1).log()


def in_base_2(scores):
    return torch.logsumexp(scores, -1) / math.log(2)


def decode(window=0, lse=None, narrow=False, **scoring):
    """attention_decode in plain PyTorch, of the last ``window`` keys."""

    def attention_decode(q, k_cache, v_cache, lengths, scale):
        out, sums = torch.zeros_like(q), torch.full(q.shape[:2], -math.inf)
        for row, count in enumerate(lengths.tolist()):
            if count:
                seen = slice(max(0, count - window) if window else 0, count)
                scores = scores_of(q[row], k_cache[row, seen], scale, **scoring)
                out[row] = attend(scores, v_cache[row, seen], narrow)
                sums[row] = lse(scores) if lse else 0
        return (out, sums) if lse else out

    return attention_decode


def prefill(window=0, lse=None, **scoring):
    """attention_prefill of one sequence, query by query."""

    def attention_prefill(q, k, v, scale, q_start=0):
        out, sums = torch.zeros_like(q), torch.zeros(q.shape[:2])
        for row in range(len(q)):
            count = q_start + row + 1
            seen = slice(max(0, count - window) if window else 0, count)
            scores = scores_of(q[row], k[seen], scale, **scoring)
            out[row] = attend(scores, v[seen])
            sums[row] = lse(scores) if lse else 0
        return (out, sums) if lse else out

    return attention_prefill


def paged(pages_of_row):
    """attention_decode of pages [pages, page, Hkv, D], of which ``pages_of_row`` gives each row's."""

    def attention_decode(q, k_pages, v_pages, lengths, scale, block_table):
        out = torch.zeros_like(q)
        for row, count in enumerate(lengths.tolist()):
            if count:
                pages = pages_of_row(block_table[row].long(), count, k_pages.shape[1])
                k, v = (each[pages].flatten(0, 1)[:count] for each in (k_pages, v_pages))
                out[row] = attend(scores_of(q[row], k, scale), v)
        return out

    return attention_decode


def in_order(table, count, page):
    return table[: math.ceil(count / page)]


def without_the_last_partial(table, count, page):
    return table[: max(1, count // page)]


def with_another_last(table, count, page):
    pages = in_order(table, count, page).clone()
    pages[-1] += 1 if pages[-1] == 0 else -1
    return pages


def as_if_contiguous(table, count, page):
    return (
        table[0] + torch.arange(math.ceil(count / page)) if table[0] + math.ceil(count / page) <= table.max() else table
    )


def heads_first(q, k_cache, v_cache, lengths, scale):
    return decode()(q, k_cache.transpose(1, 2), v_cache.transpose(1, 2), lengths, scale)


def ignores_scale(q, k_cache, v_cache, lengths, scale):
    return decode()(q, k_cache, v_cache, lengths, q.shape[-1] ** -0.5)


@cache
def contract(name, *words):
    """The op under these conventions: the same one each time, by which its answers are kept."""
    op = kernels.find()[name]
    return under(op, named(op, words))


def violations(op, words, function):
    """The dtypes of the cases on which the function violates the op under these conventions, one by one."""
    op = contract(op.name, *words)
    served = [case for case in op.cases if not case.large and "cu_seqlens" not in case.needs]
    return (case.dtype for case in served if accuracy.violation(measure_op(op, case, "cpu", function)))


RIGHT = [
    (DECODE, ["window=64"], decode(window=64)),
    (DECODE, ["window=64"], decode(window=64, narrow=True)),
    (DECODE, ["softcap=30"], decode(softcap=30.0)),
    (DECODE, ["window=48", "softcap=20.5"], decode(window=48, softcap=20.5, narrow=True)),
    (DECODE, ["scale=0.3"], decode()),
    (DECODE, ["lse=natural"], decode(lse=log_sum_exp, narrow=True)),
    (DECODE, ["lse=base 2"], decode(lse=in_base_2)),
    (DECODE, ["lse=natural", "softcap=30", "window=64"], decode(64, log_sum_exp, softcap=30.0)),
    (DECODE, ["page=1"], paged(in_order)),
    (DECODE, ["page=16"], paged(in_order)),
    (DECODE, ["page=64"], paged(in_order)),
    (DECODE, ["layout=HND"], heads_first),
    (PREFILL, ["window=16"], prefill(window=16)),
    (PREFILL, ["softcap=20"], prefill(softcap=20.0)),
    (PREFILL, ["lse=natural"], prefill(lse=log_sum_exp)),
]
WRONG = [
    (DECODE, ["window=64"], decode(window=65)),
    (DECODE, ["window=64"], decode(window=63)),
    (DECODE, ["window=64"], decode()),
    (DECODE, ["softcap=30"], decode(softcap=30.0, cap_before_scale=True)),
    (DECODE, ["softcap=30"], decode(softcap=31.0)),
    (DECODE, ["scale=0.3"], ignores_scale),
    (DECODE, ["lse=natural"], decode(lse=in_base_2)),
    (DECODE, ["lse=natural"], decode(lse=without_maximum)),
    (DECODE, ["lse=base 2"], decode(lse=log_sum_exp)),
    (DECODE, ["lse=natural"], decode()),
    (DECODE, ["page=16"], paged(without_the_last_partial)),
    (DECODE, ["page=16"], paged(with_another_last)),
    (DECODE, ["page=64"], paged(with_another_last)),
    (DECODE, ["page=16"], paged(as_if_contiguous)),
    (PREFILL, ["window=16"], prefill(window=17)),
    (PREFILL, ["softcap=20"], prefill(softcap=20.0, cap_before_scale=True)),
    (PREFILL, ["lse=natural"], prefill(lse=without_maximum)),
]


@pytest.mark.parametrize(("op", "words", "function"), RIGHT)
def test_a_right_function_keeps_its_contract(op, words, function):
    assert not list(violations(op, words, function))


@pytest.mark.parametrize(("op", "words", "function"), WRONG)
def test_a_wrong_function_is_refused(op, words, function):
    assert any(violations(op, words, function))


@pytest.mark.parametrize(("op", "words", "function"), [row for row in WRONG if row[1][0] != "scale=0.3"][:4])
def test_it_is_refused_in_bfloat16_and_in_float32(op, words, function):
    assert {"bfloat16", "float32"} <= set(violations(op, words, function))


@pytest.mark.parametrize("op", [DECODE, PREFILL, FUSED_DECODE, kernels.find()["fused_attention"]])
def test_every_attention_has_windows_and_soft_caps(op):
    assert [one.name for one in named(op, ["window=8", "softcap=1.5"])] == ["window=8", "softcap=1.5"]
    strict, capped = (under(op, named(op, words)) for words in ([], ["softcap=1.5"]))
    cases = [case for case in op.cases if not case.large][:8]
    assert any(accuracy.violation(measure_op(capped, case, "cpu", strict.reference)) for case in cases)
    assert not any(accuracy.violation(measure_op(capped, case, "cpu", capped.reference)) for case in cases)


@pytest.mark.parametrize("words", [["page=16"], ["layout=HND"], ["page=16", "layout=HND"], ["window=32", "page=64"]])
@pytest.mark.parametrize("op", [DECODE, FUSED_DECODE])
def test_a_cache_in_another_form_is_the_same_answer(op, words):
    formed = under(op, named(op, words))
    for case in formed.cases[:4]:
        assert not accuracy.violation(measure_op(formed, case, "cpu", formed.reference)), case.id


def test_a_log_sum_exp_is_found_and_said():
    found = fit(DECODE, decode(lse=log_sum_exp), "cpu")
    assert found.said.startswith(
        "held to attention_decode(lse=natural); fails the strict contract: without lse=natural"
    )
    assert not found.other_op


def test_one_in_base_2_must_be_declared():
    found = fit(DECODE, decode(lse=in_base_2), "cpu")
    assert found.other_op
    assert found.said.endswith("(as FlashInfer returns it); if that is meant: --contract 'lse=base 2'")


@pytest.mark.parametrize("word", ["window=0", "window=1.5", "window=-3", "softcap=inf", "page=x", "scale=nan"])
def test_a_number_that_cannot_be_is_refused(word):
    with pytest.raises(UserError, match=r"must be a (whole )?number above 0"):
        named(DECODE, [word])


def test_a_choice_is_made_once():
    with pytest.raises(UserError, match="window=8 and window=9 exclude each other"):
        named(DECODE, ["window=8", "window=9"])


@pytest.mark.parametrize(("word", "other"), [("window=1000000", "a window of 1000001"), ("softcap=1e6", "no soft cap")])
def test_a_number_that_no_case_tells_is_refused(word, other):
    with pytest.raises(UserError, match=f"no case of attention_decode tells .* from {other}; give a smaller one"):
        require_told(DECODE, named(DECODE, [word]), "cpu")
    require_told(DECODE, named(DECODE, ["window=64", "softcap=50"]), "cpu")


FLOAT16 = [case for case in DECODE.cases if case.dtype == "float16"]
PAGED = """
import torch


def attend(q, k_pages, v_pages, lengths, scale, block_table):
    out = torch.zeros_like(q)
    for row, count in enumerate(lengths.tolist()):
        k, v = (pages[block_table[row].long()].flatten(0, 1)[:count].float() for pages in (k_pages, v_pages))
        k, v = (each.repeat_interleave(q.shape[1] // k_pages.shape[2], 1) for each in (k, v))
        p = torch.softmax(torch.einsum("hd,shd->hs", q[row].float(), k) * scale, -1)
        out[row] = torch.einsum("hs,shd->hd", p, v).to(q.dtype) if count else 0
    return out
"""


@pytest.mark.parametrize("contract", ["page=16", "page=1,scale=0.3"])
def test_check_gives_a_function_pages_and_their_table(tmp_path, contract):
    (tmp_path / "own.py").write_text(PAGED)
    name = f"{tmp_path / 'own.py'}:attend"
    found = evaluate("attention_decode", name, "cpu", 1, "[float16-", Limits(60, 300), contract=contract.split(","))
    *asked, served = found
    assert {verdict.status for verdict in asked} == {Status.PASS}, [verdict.message for verdict in asked]
    assert served.message == f"supports {len(FLOAT16)} of {len(FLOAT16)} cases"
    assert {"accuracy", "calls", "fence"} <= {verdict.gate for verdict in found}
