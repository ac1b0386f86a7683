"""Tests compute with one thread, also where the conftest.py of their folder has imported torch first."""

import os

import torch


def test_one_thread_computes_whichever_folder_is_named():
    assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"])
