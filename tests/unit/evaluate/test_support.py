"""What a model's config says about sharing prefixes."""

import sys
from types import SimpleNamespace

import pytest

from distill_eval.evaluate.scorer.support import rope_limit

LONG = {"rope_type": "longrope", "original_max_position_embeddings": 4096}
DEFAULT = {"rope_type": "default", "rope_theta": 10_000.0}


def model(rope):
    text = SimpleNamespace(rope_parameters=rope, max_position_embeddings=131_072)
    return SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: text))


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        (None, sys.maxsize),
        (DEFAULT, sys.maxsize),
        (LONG, 4096),
        ({"rope_type": "dynamic", "factor": 2.0}, 131_072),
        ({"full_attention": LONG, "sliding_attention": DEFAULT}, 4096),
    ],
    ids=["none", "default", "longrope", "dynamic", "by layer type"],
)
def test_rope_limit(rope, expected):
    assert rope_limit(model(rope)) == expected
