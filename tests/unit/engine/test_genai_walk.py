"""A growing sequence of ONNX Runtime GenAI, on a runtime that counts what it is asked and holds."""

import gc
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from distill_eval.engine import genai
from distill_eval.engine.genai import PIECE, Walk
from distill_eval.errors import ModelError
from distill_eval.evaluate.scorer.onnx import OnnxEngine
from distill_eval.evaluate.scorer.packed import LogLikelihood
from distill_eval.evaluate.scorer.tree import TokenRequest

SIZE = 11


def row(token):
    return np.random.default_rng(token).normal(size=SIZE).astype(np.float32)


class Runtime:
    """A generator whose logits depend on the last token alone."""

    def __init__(self):
        self.ids, self.runs, self.held = [], [], []

    def append_tokens(self, ids):
        self.ids += ids
        self.runs.append(len(ids))
        self.held.append(num_pieces())

    def rewind_to(self, length):
        del self.ids[length:]

    def get_output(self, name):
        assert name == "logits"
        return np.stack([row(token) for token in self.ids[-self.runs[-1] :]])[None]


class Model:
    def __init__(self):
        self.runtime = Runtime()

    def walk(self, max_length):
        assert max_length
        return Walk(self.runtime, nullcontext)


def test_a_piece_is_run_when_it_is_asked_for():
    runtime, ids = Runtime(), [i % 7 for i in range(2 * PIECE + 5)]
    walk = Walk(runtime, nullcontext)
    pieces = walk.to(ids, first=3)
    first = next(pieces)
    assert (runtime.runs, first.shape) == ([PIECE], (PIECE - 3, SIZE))
    assert runtime.runs == [PIECE], "the rest waits"
    rows = torch.cat([first, *pieces])
    assert runtime.runs == [PIECE, PIECE, 5]
    torch.testing.assert_close(rows, torch.from_numpy(np.stack([row(token) for token in ids[3:]])))
    (last,) = walk.to([*ids, 9], first=len(ids))
    assert runtime.runs[3:] == [1], "the beginning stands there already"
    torch.testing.assert_close(last[0], torch.from_numpy(row(9)))


def test_a_walk_that_was_left_in_the_middle_goes_on_from_there():
    runtime, ids = Runtime(), [i % 7 for i in range(3 * PIECE)]
    walk = Walk(runtime, nullcontext)
    next(walk.to(ids, first=0))
    list(walk.to(ids, first=2 * PIECE))
    assert runtime.ids == ids
    assert runtime.runs == [PIECE] * 3


def num_pieces():
    """Tensors of logits or log-probabilities that are held now."""
    found = [one for one in gc.get_objects() if type(one) is torch.Tensor]
    return sum(1 for one in found if one.ndim > 1 and one.shape[-1] == SIZE)


def test_a_long_window_is_reduced_piece_by_piece():
    ids, model, found = tuple(i % 7 for i in range(4 * PIECE)), Model(), {}
    best = [int(row(token).argmax()) for token in ids]
    near = list(best[-2 * PIECE :])
    near[5] = (near[5] + 1) % SIZE
    requests = [TokenRequest(ids, tuple(best)), TokenRequest(ids, tuple(near))]
    OnnxEngine(model, 4 * PIECE).score(
        requests, done=frozenset(), on_scores=found.update, on_tokens=lambda *numbers: None
    )
    assert model.runtime.held == [0, 0, 0, 0], "each piece is gone before the next is run"
    rows = np.stack([row(token) for token in ids]).astype(np.float64)
    rows -= np.log(np.exp(rows).sum(-1, keepdims=True))
    for index, request in enumerate(requests):
        num = len(request.targets)
        total = rows[-num:][np.arange(num), request.targets].sum()
        assert found[index] == LogLikelihood(pytest.approx(total, rel=1e-5), index == 0)


def test_a_missing_runtime_is_said_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_genai", None)
    with pytest.raises(ModelError, match="ONNX Runtime GenAI, which is not installed: pip install"):
        genai.check_library(tmp_path)
