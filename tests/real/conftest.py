"""The real tier: a real checkpoint and real benchmark data, from the Hub or from the mirror that HF_ENDPOINT names."""

import os
from pathlib import Path

import pytest

from distill_eval.errors import ModelError, boundary

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DATA = "allenai/ai2_arc"


def pytest_collection_modifyitems(items):
    """Mark everything in this folder as real."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session", autouse=True)
def hub():
    """The Hub's address. Without a Hub, the tests skip on a laptop and fail in CI, which claims to run them."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        with boundary(ModelError, f"no Hub at {api.endpoint} with {MODEL} and {DATA}; set HF_ENDPOINT to one"):
            api.model_info(MODEL, timeout=20)
            api.dataset_info(DATA, timeout=20)
    except ModelError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    return api.endpoint
