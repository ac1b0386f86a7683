"""Prompts whose K and V lie in pages: a right function is accepted, one that reads or writes another page is not."""

import math
from itertools import pairwise

import pytest
import torch

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.accuracy.measure import measure_op
from braidcheck.numerics.contract_variants import under
from braidcheck.numerics.conventions import named

pytestmark = pytest.mark.usefixtures("answers")
PREFILL, WRITE = (kernels.find()[name] for name in ("attention_prefill", "cache_write"))
SMALL = [
    case
    for case in PREFILL.cases
    if not case.large and 1 < case["T"] <= 100 and case.profile in ("qwen", "tail", "one_sign")
]


def attend(q, k, v, scale, start):
    k, v = (each.float().repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
    scores = torch.einsum("thd,shd->hts", q.float(), k) * scale
    hidden = torch.arange(len(k)) > torch.arange(len(q))[:, None] + start
    return torch.einsum("hts,shd->thd", scores.masked_fill(hidden, -math.inf).softmax(-1), v).to(q.dtype)


def paged(pages_of_row):
    """attention_prefill of pages [pages,page,Hkv,D], of which ``pages_of_row`` gives a sequence's."""

    def attention_prefill(q, k_pages, v_pages, scale, block_table, q_start=0, cu_seqlens=None):
        bounds = [0, len(q)] if cu_seqlens is None else cu_seqlens.tolist()
        out = torch.empty_like(q)
        for row, (first, last) in enumerate(pairwise(bounds)):
            count = q_start + last - first
            pages = pages_of_row(block_table.long(), row, count, k_pages.shape[1])
            k, v = (each[pages].flatten(0, 1)[:count] for each in (k_pages, v_pages))
            out[first:last] = attend(q[first:last], k, v, scale, q_start)
        return out

    return attention_prefill


def in_order(table, row, count, page):
    return table[row, : math.ceil(count / page)]


def of_the_first_row(table, row, count, page):
    return in_order(table, 0, count, page)


def with_the_last_page_twice(table, row, count, page):
    pages = in_order(table, row, count, page).clone()
    pages[-1:] = pages[-2:-1] if len(pages) > 1 else pages
    return pages


def heads_first(q, k_pages, v_pages, *others, **options):
    return paged(in_order)(q, k_pages.transpose(1, 2), v_pages.transpose(1, 2), *others, **options)


def writing(row_of):
    """cache_write into pages, those of the row that ``row_of`` gives."""

    def cache_write(k, v, k_cache, v_cache, rows, slots, block_table):
        page = k_cache.shape[1]
        pages = block_table[row_of(rows), slots // page].long()
        k_cache[pages, slots % page], v_cache[pages, slots % page] = k, v

    return cache_write


def wrong_cases(op, words, function, cases):
    op = under(op, named(op, words))
    return [case.id for case in cases if accuracy.violation(measure_op(op, case, "cpu", function))]


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (["page=1"], paged(in_order)),
        (["page=16"], paged(in_order)),
        (["page=64"], paged(in_order)),
        (["page=16", "layout=HND"], heads_first),
    ],
)
def test_a_prompt_in_pages_is_attended(words, function):
    assert not wrong_cases(PREFILL, words, function, SMALL)


@pytest.mark.parametrize("wrong", [of_the_first_row, with_the_last_page_twice])
def test_another_page_is_seen(wrong):
    assert wrong_cases(PREFILL, ["page=16"], paged(wrong), SMALL)


@pytest.mark.parametrize("words", [["layout=HND"], ["page=16", "layout=HND"], ["page=16", "window=7"]])
def test_the_reference_is_the_same_in_another_layout(words):
    op = under(PREFILL, named(PREFILL, words))
    assert not wrong_cases(PREFILL, words, op.reference, SMALL)


def test_a_block_table_is_as_wide_for_every_draw_of_sequences():
    op = under(PREFILL, named(PREFILL, ["page=1"]))
    case = next(case for case in SMALL if case.get("seqs"))
    inputs = op.inputs(case, "cpu")
    assert list(inputs["block_table"].shape) == [case["seqs"], case["T"]]
    assert len(inputs["k"]) == case["seqs"] * case["T"] + 1


def test_tokens_are_written_into_pages():
    cases = [case for case in WRITE.cases if not case.large]
    assert not wrong_cases(WRITE, ["page=16"], writing(lambda rows: rows), cases)
    assert wrong_cases(WRITE, ["page=16"], writing(lambda rows: rows * 0), cases)
