"""Which package computes with a quantized folder's weights."""

import json
from importlib.metadata import version

import pytest

from distill_eval.provenance import unpacking_version


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (None, None),
        ({"quant_method": "compressed-tensors"}, f"compressed-tensors {version('compressed-tensors')}"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel not installed"),
        ({"quant_method": "awq"}, "gptqmodel not installed"),
    ],
)
def test_the_package_that_unpacks(tmp_path, packed, expected):
    (tmp_path / "config.json").write_text(json.dumps({} if packed is None else {"quantization_config": packed}))
    assert unpacking_version(tmp_path) == expected
