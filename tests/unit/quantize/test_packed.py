import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_eval.errors import ModelError
from distill_eval.quantize import packed
from distill_eval.quantize.stream import SafetensorsStream

WIDTH, HEIGHT = 32, 6


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(1)
    folder = tmp_path / "source"
    folder.mkdir()
    tensors = {
        "layers.0.proj.weight": torch.randn(HEIGHT, WIDTH).bfloat16(),
        "layers.0.proj.bias": torch.randn(HEIGHT).bfloat16(),
        "layers.1.proj.weight": torch.randn(HEIGHT, WIDTH).bfloat16(),
        "embed.weight": torch.randn(10, WIDTH).bfloat16(),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, tensors


def written(source, tmp_path, scheme, **options):
    output = tmp_path / "output"
    output.mkdir()
    wanted = packed.make_scheme(scheme, **{"group_size": None, "symmetric": True, **options})
    packed.write_rounded(source, output, ["layers.0.proj"], wanted)
    return load_file(output / "model.safetensors"), wanted


def test_int8_is_the_nearest_of_255_steps_of_each_channel(source, tmp_path):
    folder, before = source
    after, _ = written(folder, tmp_path, "W8A8")
    assert set(after) == {*before, "layers.0.proj.weight_scale"}
    weight = before["layers.0.proj.weight"].float()
    scale = (weight.abs().amax(-1, keepdim=True) / 127.5).bfloat16()
    assert after["layers.0.proj.weight_scale"].equal(scale)
    expected = (weight / scale.float()).round().clamp(-128, 127)
    assert after["layers.0.proj.weight"].dtype == torch.int8
    assert after["layers.0.proj.weight"].float().equal(expected)
    for name in set(before) - {"layers.0.proj.weight"}:
        assert after[name].equal(before[name])


@pytest.mark.parametrize("symmetric", [True, False])
def test_int4_is_packed_eight_to_a_word_with_a_scale_per_group(symmetric, source, tmp_path):
    folder, before = source
    after, scheme = written(folder, tmp_path, "W4A16", group_size=16, symmetric=symmetric)
    state = {
        name.rpartition(".")[2]: tensor for name, tensor in after.items() if name.startswith("layers.0.proj.weight")
    }
    assert state["weight_packed"].shape == (HEIGHT, WIDTH // 8)
    assert state["weight_packed"].dtype == torch.int32
    assert state["weight_scale"].shape == (HEIGHT, WIDTH // 16)
    assert ("weight_zero_point" in state) is not symmetric
    weight = before["layers.0.proj.weight"].float()
    groups = weight.unflatten(-1, (-1, 16))
    if symmetric:
        scale = (groups.abs().amax(-1, keepdim=True) / 7.5).bfloat16().float()
        expected = (groups / scale).round().clamp(-8, 7) * scale
    else:
        low, high = groups.amin(-1, keepdim=True).clamp(max=0), groups.amax(-1, keepdim=True).clamp(min=0)
        exact = (high - low) / 15
        zero, scale = (-8 - low / exact).clamp(-8, 7).round(), exact.bfloat16().float()
        expected = ((groups / scale + zero).round().clamp(-8, 7) - zero) * scale
    back = packed._compressor(scheme)[1].decompress(state, scheme)["weight"]
    torch.testing.assert_close(back.float(), expected.flatten(1), rtol=1e-2, atol=1e-2)
    assert float((back.float() - weight).abs().max()) <= float(scale.max()) * 0.55


def test_the_config_says_what_was_done():
    scheme = packed.make_scheme("W4A16", group_size=64, symmetric=True)
    config = packed.quantization_config(scheme, ["lm_head"])
    assert (config["quant_method"], config["format"], config["ignore"]) == (
        "compressed-tensors", "pack-quantized", ["lm_head"],
    )  # fmt: skip
    weights = config["config_groups"]["group_0"]["weights"]
    assert (weights["num_bits"], weights["group_size"], weights["symmetric"]) == (4, 64, True)
    assert config["config_groups"]["group_0"]["input_activations"] is None
    dynamic = packed.quantization_config(packed.make_scheme("W8A8", group_size=None, symmetric=True), [])
    assert dynamic["format"] == "int-quantized"
    assert dynamic["config_groups"]["group_0"]["input_activations"]["strategy"] == "token"
    json.dumps(config)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    weight = torch.ones(4, 16)
    weight[2, 3] = torch.nan
    save_file({"a.weight": weight}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="the weights of a are not all finite numbers"):
        packed.write_rounded(folder, tmp_path, ["a"], packed.make_scheme("W8A8", group_size=None, symmetric=True))


def test_a_layer_without_weights_is_refused(source, tmp_path):
    with pytest.raises(ModelError, match=r"has no weights for 1 linear layers, e\.g\. layers\.7\.proj\.weight"):
        packed.write_rounded(
            source[0], tmp_path, ["layers.7.proj"], packed.make_scheme("W8A8", group_size=None, symmetric=True)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.int32, torch.bool])
def test_a_stream_is_a_safetensors_file(dtype, tmp_path):
    torch.manual_seed(0)
    tensors = {f"layer.{index}.weight": (torch.randn(3, index) * 9).to(dtype) for index in range(1, 5)}
    tensors["empty"], tensors["scalar"] = torch.zeros(0, dtype=dtype), torch.ones((), dtype=dtype)
    file = tmp_path / "a.safetensors"
    with SafetensorsStream(file, num_tensors=len(tensors), longest_name=16) as stream:
        for name, tensor in tensors.items():
            stream.add(name, tensor.T if tensor.ndim == 2 else tensor)
    found = load_file(file)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].equal(tensor.T if tensor.ndim == 2 else tensor)
    assert list(tmp_path.iterdir()) == [file]
