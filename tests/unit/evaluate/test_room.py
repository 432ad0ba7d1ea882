"""Whether several models stay in memory at once."""

import pytest
from fakes.tiny_families import save

from distill_eval.checkpoint import file_digest
from distill_eval.evaluate import room
from distill_eval.evaluate.models import locate
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.schema.model import ModelRef


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models in float32, and the first one again."""
    root = tmp_path_factory.mktemp("room")
    sizes = [save("llama", root / name, seed=seed).num_parameters() for seed, name in enumerate(("a", "b"))]
    assert sizes[0] == sizes[1]
    return [locate(ModelRef.parse(str(root / name)), file_digest) for name in ("a", "b", "a")], sizes[0]


def test_models_stay_while_their_weights_take_two_fifths_of_the_free_memory(folders):
    found, num_parameters = folders
    stored = sum(file.stat().st_size for folder in found[:2] for file in folder.path.glob("*.safetensors"))
    assert stored >= 2 * 4 * num_parameters
    enough = int(stored / 0.4) + 1
    options = EvaluateOptions(tasks=("t",))
    assert room.for_all(found, options, enough)
    assert not room.for_all(found, options, int(0.9 * enough))


def test_a_larger_dtype_than_the_stored_one_is_counted(folders, tmp_path):
    model = save("llama", tmp_path / "half", seed=0)
    model.half().save_pretrained(tmp_path / "half")
    folder = locate(ModelRef.parse(str(tmp_path / "half")), file_digest)
    free = int(4 * folders[1] / 0.4) - 100
    assert room.for_all([folder], EvaluateOptions(tasks=("t",), dtype="float16"), free)
    assert not room.for_all([folder], EvaluateOptions(tasks=("t",), dtype="float32"), free)


def test_a_server_never_shares_the_memory(folders):
    served = folders[0][0]._replace(engine="vllm")
    assert not room.for_all([served], EvaluateOptions(tasks=("t",)), 10**15)
