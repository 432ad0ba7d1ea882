"""`quantize` on tiny models: every scheme, loaded again; what stays, what is refused, and nothing half-written."""

import json
import shutil

import pytest
import torch
from fakes.tiny_families import VOCAB_SIZE, make_tokenizer
from fakes.tiny_teachers import CAUSAL, TEXT
from transformers import AutoModelForCausalLM, LlamaConfig

from distill_eval.cli import main
from distill_eval.engine import hf
from distill_eval.errors import StoreError
from distill_eval.pipeline import quantize
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.quantize.measure import closeness, read_folder
from distill_eval.record import from_json
from distill_eval.schema.quant import QuantRun

WIDE = LlamaConfig(
    vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=32, max_position_embeddings=128, bos_token_id=256, eos_token_id=257,
    tie_word_embeddings=True,
)  # fmt: skip
"""Of widths that auto-round (32) and nf4 on a CPU (64) take."""
NARROW = LlamaConfig(**(WIDE.to_dict() | {"intermediate_size": 48, "num_hidden_layers": 1}))
"""Of which auto-round takes the attention alone."""
ODD = LlamaConfig(**(WIDE.to_dict() | {"num_attention_heads": 4, "head_dim": 16}))
"""Of which nf4 does not take the keys and values on a CPU."""
SAMPLES, LENGTH, HELD_OUT = 4, 32, 3


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    root = tmp_path_factory.mktemp("quantize")
    (root / "text.txt").write_text("\n".join(TEXT))
    configs = {
        "wide": WIDE,
        "narrow": NARROW,
        "odd": ODD,
        **{name: CAUSAL[name]() for name in ("llama", "qwen3", "opt", "gpt-neox", "gpt2")},
    }
    for name, config in configs.items():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data *= 4  # so that logits differ from token to token
        model.to(torch.bfloat16).save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    return root


def words(shelf, name, output, *options):
    return [
        "quantize", "--model", str(shelf / name), "--output-dir", str(output), "--calibration", str(shelf / "text.txt"),
        "--calibration-samples", str(SAMPLES), "--calibration-length", str(LENGTH), "--held-out-samples", str(HELD_OUT),
        *options,
    ]  # fmt: skip


def record(folder):
    return from_json(QuantRun, (folder / "quant.json").read_bytes(), source=str(folder))


@pytest.mark.parametrize(
    ("options", "num_bits"),
    [
        (["--scheme", "W8A8"], 8),
        (["--scheme", "W8A16"], 8),
        (["--scheme", "W8A16", "--group-size", "32"], 8),
        (["--scheme", "W4A16"], 4),
        (["--scheme", "W4A16", "--no-symmetric"], 4),
        (["--scheme", "int8"], 8),
        (["--scheme", "nf4"], 4),
        (["--scheme", "nf4", "--double-quant"], 4),
        (["--scheme", "W4A16", "--algorithm", "autoround", "--iterations", "2"], 4),
        (["--scheme", "W8A8", "--algorithm", "autoround", "--iterations", "2"], 8),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_every_scheme_is_a_folder_that_loads_and_was_measured(options, num_bits, shelf, tmp_path, capsys):
    output = tmp_path / "variant"
    assert main(words(shelf, "wide", output, *options)) == 0
    done = record(output)
    linear = [name for name, _ in AutoModelForCausalLM.from_config(WIDE).named_modules() if name.endswith("_proj")]
    assert list(done.quantized_layers) == linear
    assert done.ignored_layers == ("lm_head",)
    assert done.tied_embeddings
    assert done.embedding_bytes == VOCAB_SIZE * 64 * 2

    original, variant = hf.load(shelf / "wide"), hf.load(output)
    text = [torch.tensor([256, *range(40 + start, 40 + start + LENGTH)]) for start in range(2)]
    found = closeness((original.logits(ids.tolist()) for ids in text), variant, text)
    assert 0 < found.mean_kl < (0.05 if num_bits == 8 else 2.0)
    assert variant.model.get_output_embeddings().weight.equal(original.model.get_output_embeddings().weight)

    assert done.size_bytes == sum(file.stat().st_size for file in output.glob("*.safetensors"))
    assert done.bits_per_weight == 8 * done.size_bytes / done.num_parameters
    bits = 8 * sum(
        size for name, size in read_folder(output).bytes_of.items() if name.partition(".weight")[0] in linear
    )
    assert num_bits <= bits / done.num_parameters_quantized < num_bits + 3
    assert len(done.layer_errors) == len(linear)
    assert all(0 < error.relative_error < 0.5 for error in done.layer_errors)
    assert 0 < done.check.mean_kl < 2
    assert done.check.num_tokens == HELD_OUT * LENGTH
    assert (output / "tokenizer.json").read_bytes() == (shelf / "wide" / "tokenizer.json").read_bytes()
    page = (output / "quant.md").read_text()
    assert f"# wide as {done.scheme}" in page
    assert "model.layers.1.mlp.down_proj" in page
    printed = capsys.readouterr().out
    assert f"Variant: {output}" in printed
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("family", ["llama", "qwen3", "opt", "gpt-neox"])
def test_families(family, shelf, tmp_path):
    output = tmp_path / "variant"
    assert main(words(shelf, family, output, "--scheme", "W4A16")) == 0
    done = record(output)
    assert done.group_size == 16
    assert len(done.quantized_layers) == len(read_folder(output).quantized)
    assert done.check.mean_kl > 0


def test_8_bits_are_closer_than_4_and_small_groups_closer_than_large_ones(shelf, tmp_path):
    found = {}
    for name, options in {
        "8": ["--scheme", "W8A16"],
        "4, 32": ["--scheme", "W4A16", "--group-size", "32"],
        "4, 64": ["--scheme", "W4A16", "--group-size", "64"],
    }.items():
        assert main(words(shelf, "wide", tmp_path / name, *options)) == 0
        found[name] = record(tmp_path / name)
    assert found["8"].check.mean_kl < found["4, 32"].check.mean_kl < found["4, 64"].check.mean_kl
    assert found["4, 64"].size_bytes < found["4, 32"].size_bytes < found["8"].size_bytes


def test_the_same_command_gives_the_same_bytes(shelf, tmp_path):
    for name in "ab":
        assert main(words(shelf, "wide", tmp_path / name, "--scheme", "W4A16")) == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert one == two


def test_the_most_harmful_units_stay(shelf, tmp_path):
    output = tmp_path / "variant"
    assert main(words(shelf, "wide", output, "--scheme", "W4A16", "--keep-best", "3")) == 0
    done = record(output)
    kept = done.kept_best
    assert kept is not None
    assert len(kept.harms) == 8  # q+k+v, o, gate+up, down of two layers
    assert [harm.mean_kl for harm in kept.harms] == sorted((harm.mean_kl for harm in kept.harms), reverse=True)
    left = {layer for harm in kept.harms[:3] for layer in harm.unit}
    assert set(done.ignored_layers) == {"lm_head", *left}
    assert not left & read_folder(output).quantized
    assert done.check.mean_kl < kept.mean_kl_without
    assert done.size_bytes > kept.size_bytes_without
    config = json.loads((output / "config.json").read_text())["quantization_config"]
    assert set(config["ignore"]) == {"lm_head", *left}
    assert "## Units left in high precision" in (output / "quant.md").read_text()


def test_layers_that_the_user_names_stay(shelf, tmp_path):
    output = tmp_path / "variant"
    assert main(words(shelf, "wide", output, "--scheme", "nf4", "--ignore", "lm_head,down_proj")) == 0
    done = record(output)
    assert set(done.ignored_layers) == {"lm_head", *(f"model.layers.{n}.mlp.down_proj" for n in range(2))}
    assert read_folder(output).quantized == set(done.quantized_layers)


@pytest.mark.parametrize("scheme", ["int8", "nf4", "W4A16"])
def test_a_tied_head_stays_whatever_is_ignored(scheme, shelf, tmp_path):
    output = tmp_path / "variant"
    assert main(words(shelf, "wide", output, "--scheme", scheme, "--ignore", "o_proj")) == 0
    done = record(output)
    assert set(done.ignored_layers) == {"lm_head", *(f"model.layers.{n}.self_attn.o_proj" for n in range(2))}


def test_a_head_of_its_own_may_be_quantized(shelf, tmp_path):
    output = tmp_path / "variant"
    assert main(words(shelf, "llama", output, "--scheme", "W8A16", "--ignore", "q_proj,k_proj,v_proj")) == 0
    done = record(output)
    assert "lm_head" in done.quantized_layers
    head = VOCAB_SIZE * 32 + VOCAB_SIZE * 2 + 2 * 8  # integers, a scale per row, and two numbers for the shape
    assert done.embedding_bytes == VOCAB_SIZE * 32 * 2 + head
    assert done.warnings == ("vLLM runs W8A16 on a GPU alone: its kernels for CPUs take 4-bit weights, or W8A8",)


def test_a_part_of_what_vllm_fuses_is_a_warning(shelf, tmp_path):
    output = tmp_path / "variant"
    assert main(words(shelf, "wide", output, "--scheme", "W8A8", "--ignore", "lm_head,v_proj")) == 0
    (warning,) = record(output).warnings
    assert warning.startswith("vLLM runs model.layers.0.self_attn.q_proj and model.layers.0.self_attn.k_proj and ")
    assert "(2 such units). Name all of them with --ignore, or none" in warning


def test_units_that_were_not_quantized_cannot_be_kept(shelf, tmp_path, capsys):
    options = ["--scheme", "W8A16", "--algorithm", "autoround", "--iterations", "1", "--keep-best", "2"]
    assert main(words(shelf, "narrow", tmp_path / "variant", *options)) == 2
    assert "--keep-best 2: autoround quantized 2 units, and one at least is to be" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_auto_round_leaves_out_is_said(shelf, tmp_path, capsys):
    output = tmp_path / "variant"
    options = ["--scheme", "W8A16", "--algorithm", "autoround", "--iterations", "1"]
    assert main(words(shelf, "narrow", output, *options)) == 0
    done = record(output)
    assert set(done.quantized_layers) == read_folder(output).quantized
    assert "model.layers.0.mlp.down_proj" in done.ignored_layers
    assert "left 3 layers in high precision although they were to be quantized" in capsys.readouterr().out


def test_a_kl_above_the_bound_is_a_warning(shelf, tmp_path, capsys):
    assert main(words(shelf, "wide", tmp_path / "variant", "--scheme", "W4A16", "--max-kl", "1e-9")) == 0
    assert "times the bound of 1e-09 (--max-kl)" in capsys.readouterr().out
    assert "**Warning:**" in (tmp_path / "variant" / "quant.md").read_text()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wide", ["--scheme", "W4A61"], "unknown scheme 'W4A61'. Did you mean 'W4A16'?"),
        ("wide", ["--scheme", "W4A16", "--group-size", "48"], "a group of 48 does not divide"),
        ("llama", ["--scheme", "nf4"], "a group of 64 does not divide"),
        ("gpt2", ["--scheme", "W8A8"], "has no linear layers but its head"),
        ("wide", ["--scheme", "W8A8", "--ignore", "up_porj"], "--ignore up_porj: no such linear layer. Did you mean"),
        ("wide", ["--scheme", "W8A8", "--ignore", "*"], "--ignore *: that leaves nothing to quantize"),
        ("wide", ["--scheme", "W8A8", "--keep-best", "8"], "--keep-best 8: the model has 8 units, and one at least"),
        ("wide", ["--scheme", "W8A8", "--calibration-samples", "9999"], "and 10002 samples of 32 need 320,064"),
        ("wide", ["--scheme", "W8A8", "--calibration-length", "129"], "--calibration-length 129: the model reads 128"),
        ("odd", ["--scheme", "nf4"], "nf4: model.layers.0.self_attn.k_proj has 16 outputs, and on a CPU bitsandbytes"),
        ("wide", ["--scheme", "W8A8", "--device", "cuda"], "--device cuda: no CUDA here"),
        ("nowhere/at/all", ["--scheme", "W8A8"], "is not a folder"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_left(name, options, message, shelf, tmp_path, capsys):
    output = tmp_path / "variant"
    assert main(words(shelf, name, output, *options)) in (1, 2)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_variant_is_not_quantized_again(shelf, tmp_path, capsys):
    assert main(words(shelf, "wide", tmp_path / "once", "--scheme", "W8A8")) == 0
    line = words(shelf, "wide", tmp_path / "twice", "--scheme", "W4A16")
    line[line.index("--model") + 1] = str(tmp_path / "once")
    assert main(line) == 1
    assert "is quantized already (compressed-tensors): name the unquantized model" in capsys.readouterr().err


def test_an_output_folder_in_use_is_refused(shelf, tmp_path, capsys):
    (tmp_path / "variant").mkdir()
    (tmp_path / "variant" / "mine.txt").write_text("keep me")
    assert main(words(shelf, "wide", tmp_path / "variant", "--scheme", "W8A8")) == 2
    assert "exists and is not an empty folder: name another, or remove it" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "variant").iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing(shelf, tmp_path):
    output = tmp_path / "variant"
    config = QuantizeConfig(
        model=str(shelf / "wide"), scheme="W8A8", output_dir=output, calibration=str(shelf / "text.txt"),
        calibration_samples=SAMPLES, calibration_length=LENGTH, held_out_samples=HELD_OUT,
    )  # fmt: skip

    def fill(line):
        del line
        for scratch in tmp_path.glob(".variant-*/all"):
            shutil.rmtree(scratch)  # what was written is gone before the record is

    with pytest.raises(StoreError, match="cannot write"):
        quantize(config, argv=[], say=fill)
    assert list(tmp_path.iterdir()) == []
