"""Settings from options, folder and memory; what is refused before the start."""

import itertools
import json
from pathlib import Path

import pytest

from distill_eval import cli
from distill_eval.errors import ModelError, UsageError
from distill_eval.record import changed
from distill_eval.schema.model import ModelRef
from distill_eval.serving import folder, profile
from distill_eval.serving.config import GIB, token_bytes
from distill_eval.serving.folder import Described
from distill_eval.serving.options import ServeOptions, Tuning
from distill_eval.serving.resolve import key_variable, resolve
from distill_eval.serving.settings import PROCESS_BYTES, settle

# SmolLM2-135M: 30 layers of 3 heads of 64, keys and values, 2 bytes each: 23,040 bytes a token.
SHAPE = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
TOKEN = 23_040
WEIGHTS = 269_000_000
MODEL = Described(Path("m"), SHAPE, "bfloat16", 8192, is_stretched=False, quantization=None, weight_bytes=WEIGHTS)


def settled(model=MODEL, *, room=20 * GIB, is_cpu=True, **tuning):
    """Settings where this much is left beside weights and processes."""
    return settle(model, Tuning(**tuning), is_cpu=is_cpu, free_bytes=room + model.weight_bytes + PROCESS_BYTES)


def test_the_usual_case():
    found = settled()
    assert (found.dtype, found.max_model_len) == ("bfloat16", 8192)
    assert found.kv_cache_bytes == 16 * 8192 * TOKEN, "sixteen sequences of full length"
    assert found.said == (
        "weights: 0.25 GiB, not quantized",
        "dtype: bfloat16, as the files say",
        "max model length: 8,192 tokens",
        "keys and values: 2.81 GiB, 131,072 tokens, 16.0 sequences of full length",
    )
    assert settled(room=2 * GIB).kv_cache_bytes == GIB, "at most half of what is free"
    assert settled(max_model_len=128).kv_cache_bytes == GIB, "at least 1 GiB"


def test_a_gpu_has_what_is_free():
    found = settled(is_cpu=False)
    assert found.kv_cache_bytes is None
    assert found.said[-1] == "keys and values: what is free on the GPU"
    assert settled(is_cpu=False, kv_cache_gb=2.0).kv_cache_bytes == 2 * GIB


def test_a_length_that_memory_does_not_hold_is_lowered_and_said():
    found = settled(room=1000 * TOKEN)
    assert found.max_model_len == 896, "whole blocks of 128 tokens"
    assert found.kv_cache_bytes == 896 * TOKEN
    assert found.said[2] == (
        "max model length: 896 tokens, lowered from the model's 8,192: memory has 0.02 GiB for keys and values"
    )
    assert settled(kv_cache_gb=0.1).max_model_len == int(0.1 * GIB) // TOKEN // 128 * 128


def test_a_length_that_was_asked_for_is_kept_or_refused():
    assert settled(max_model_len=1000).max_model_len == 1000
    with pytest.raises(
        UsageError, match=r"--max-model-len 9000: the model reads at most 8192 tokens; type at most 8192"
    ):
        settled(max_model_len=9000)
    assert settled(MODEL._replace(is_stretched=True), max_model_len=9000).max_model_len == 9000
    with pytest.raises(
        UsageError, match=r"--max-model-len 8192 needs 0.18 GiB .* room for 0.02 GiB: type at most 896$"
    ):
        settled(room=1000 * TOKEN, max_model_len=8192)
    with pytest.raises(UsageError, match=r"type at most 4608, or more --kv-cache-gb"):
        settled(max_model_len=8192, kv_cache_gb=0.1)


def test_memory_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match=r"not enough memory: 0.25 GiB for the weights and about 2.00 GiB for vLLM"):
        settled(room=100 * TOKEN)
    with pytest.raises(UsageError, match=r"--kv-cache-gb 9: .* 4.00 GiB are free; type at most 4.0"):
        settled(room=4 * GIB, kv_cache_gb=9.0)


@pytest.mark.parametrize(
    ("files", "asked", "dtype", "loaded"),
    [
        ("float32", None, "bfloat16", 0.5),
        ("float32", "float32", "float32", 1),
        ("bfloat16", "float32", "float32", 2),
        ("float16", "auto", "float16", 1),
        (None, None, "bfloat16", 0.5),
    ],
)
def test_dtype_and_what_the_weights_take_in_it(files, asked, dtype, loaded):
    model = MODEL._replace(dtype=files)
    size = 4 if dtype == "float32" else 2
    least = int(WEIGHTS * loaded) + PROCESS_BYTES + 128 * TOKEN * size // 2
    assert settle(model, Tuning(dtype=asked), is_cpu=True, free_bytes=least).dtype == dtype
    with pytest.raises(ModelError, match="not enough memory"):
        settle(model, Tuning(dtype=asked), is_cpu=True, free_bytes=least - 1)


def test_packed_weights_stay_as_they_are():
    packed = MODEL._replace(quantization="compressed-tensors W8A8", dtype="float32")
    least = WEIGHTS + PROCESS_BYTES + 128 * TOKEN
    assert settle(packed, Tuning(), is_cpu=True, free_bytes=least).said[0] == (
        "weights: 0.25 GiB, compressed-tensors W8A8"
    )


def write(path, config, *files):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(SHAPE | config))
    for name in files:
        (path / name).write_bytes(bytes(10))
    return path


def test_what_a_folder_says(tmp_path):
    yarn = {"rope_type": "yarn", "factor": 4.0}
    made = write(
        tmp_path / "a", {"torch_dtype": "float16", "n_positions": 1024, "rope_scaling": yarn}, "model.safetensors"
    )
    found = folder.describe(made)
    assert (found.dtype, found.max_length, found.is_stretched, found.weight_bytes) == ("float16", 1024, True, 10)
    inner = {"text_config": {**SHAPE, "dtype": "bfloat16", "max_position_embeddings": 77}}
    found = folder.describe(write(tmp_path / "b", inner, "model.safetensors"))
    assert (found.dtype, found.max_length, found.is_stretched) == ("bfloat16", 77, False)
    assert found.config["num_hidden_layers"] == 30
    (made / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json in"):
        folder.describe(made)
    unsaid = settle(MODEL._replace(max_length=None), Tuning(), is_cpu=True, free_bytes=20 * GIB)
    assert (unsaid.max_model_len, unsaid.said[2][-35:]) == (2048, " (the config does not say how many)")


@pytest.mark.parametrize(
    ("config", "files", "said"),
    [
        (
            {},
            ["genai_config.json", "model.onnx"],
            "is an ONNX folder, and vLLM serves safetensors: `distill-eval bench`",
        ),
        ({}, ["model.onnx"], "is an ONNX folder"),
        (
            {},
            ["model.Q4_1.gguf"],
            "is a GGUF folder, and vLLM serves safetensors: name the model that it was made from",
        ),
        ({}, [], "no weights in"),
    ],
)
def test_folders_that_vllm_does_not_serve(tmp_path, config, files, said):
    made = write(tmp_path / "m", config, *files)
    with pytest.raises(ModelError, match=said):
        folder.locate(ModelRef(name=str(made)), trust_remote_code=False)


def packing(bits, acts):
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"num_bits": bits}, "input_activations": acts and {"num_bits": acts}}},
    }


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quantization_config": packing(8, None)}, "compressed-tensors W8A16, for which vLLM has no kernel on a CPU"),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            "bitsandbytes int8, which vLLM does not serve here. Make a variant that it serves: `distill-eval quantize",
        ),
        ({"architectures": ["BertForSequenceClassification"]}, "BertForSequenceClassification, which writes no text"),
    ],
)
def test_models_that_vllm_does_not_serve_on_a_cpu(tmp_path, config, said):
    found = folder.describe(write(tmp_path / "m", config))
    with pytest.raises(ModelError, match=said):
        folder.require_served(ModelRef(name="m"), found, is_cpu=True)


@pytest.mark.parametrize(
    ("config", "packed"),
    [
        ({"quantization_config": packing(8, 8)}, "compressed-tensors W8A8"),
        ({"quantization_config": packing(4, None)}, "compressed-tensors W4A16"),
        ({"architectures": ["LlamaForCausalLM"]}, None),
        ({}, None),
    ],
)
def test_models_that_it_serves(tmp_path, config, packed):
    found = folder.describe(write(tmp_path / "m", config))
    assert found.quantization == packed
    folder.require_served(ModelRef(name="m"), found, is_cpu=True)  # does not refuse it


@pytest.mark.parametrize("name", ["latency", "throughput", "cpu"])
def test_a_shipped_profile_reads_and_explains_every_value(name):
    text = profile.shipped()[name]
    assert f"distill-eval serve --model MODEL --profile {name}" in text
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        assert line.startswith("#") or not line or before.startswith("#"), line
    assert profile.load(name).enable_prefix_caching is True


def test_what_the_profiles_say():
    both = {"enable_prefix_caching": True, "enforce_eager": False}
    assert changed(profile.load("latency")) == both | {"max_num_seqs": 16, "max_num_batched_tokens": 2048}
    throughput = {"max_num_seqs": 256, "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.95}
    assert changed(profile.load("throughput")) == both | throughput
    cpu = {"device": "cpu", "dtype": "bfloat16", "max_num_seqs": 16, "max_num_batched_tokens": 1024}
    assert changed(profile.load("cpu")) == both | cpu


def test_the_command_line_goes_before_the_profile(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("max_num_seqs = 4\nkv_cache_gb = 2.5\nenforce_eager = true\n")
    found = profile.tuned(str(file), Tuning(max_num_seqs=8, enable_prefix_caching=False))
    assert found == Tuning(max_num_seqs=8, kv_cache_gb=2.5, enforce_eager=True, enable_prefix_caching=False)
    assert profile.tuned(None, found) is found
    file.write_text("enforce_eager = true\nenable_prefix_caching = false\n")
    words = ["serve", "--model=m", f"--profile={file}", "--no-enforce-eager", "--enable-prefix-caching"]
    asked = cli.parse(words)
    found = profile.tuned(asked.profile, asked.tuning)
    assert (found.enforce_eager, found.enable_prefix_caching) == (False, True), "both ways"
    asked = cli.parse(["serve", "--model=m", "--enforce-eager", "--no-enable-prefix-caching"]).tuning
    assert (asked.enforce_eager, asked.enable_prefix_caching) == (True, False)
    assert cli.parse(["serve", "--model=m"]).tuning == Tuning()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_num_seq = 4", r"max_num_seq: unknown key. Did you mean 'max_num_seqs'\?"),
        ("max_num_seqs = 0", "--max-num-seqs 0: expected 1 or more"),
        ("max_num_seqs = ", "is not TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_profile_is_read_strictly(tmp_path, text, said):
    file = tmp_path / "p.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=said):
        profile.load(str(file))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 70_000}, "--port 70000: expected 0"),
        ({"ready_timeout": 0.0}, "--ready-timeout 0"),
        ({"extra": ("--port", "1")}, "--port behind --: say --port before it"),
        ({"extra": ("--kv_cache_memory_bytes=1",)}, "say --kv-cache-gb before it"),
        ({"extra": ("--hos", "0.0.0.0")}, "--hos behind --: say --host before it"),
        ({"extra": ("--seed", "1", "--api-k=X")}, "--api-k=X behind --: say --api-key before it"),
        ({"extra": ("--kv_cache_mem=1",)}, "say --kv-cache-gb before it"),
        ({"extra": ("--enforce-eager",)}, "--enforce-eager behind --: say --enforce-eager before it"),
        ({"extra": ("--no-enable-pre",)}, "say --no-enable-prefix-caching before it"),
        ({"extra": ("--uds", "/tmp/s")}, "--uds behind --: expected a server at http://HOST:PORT"),
        ({"extra": ("--ssl-keyfile=k",)}, "--ssl-keyfile=k behind --: .* put a proxy with TLS before it"),
        ({"extra": ("--ssl_cert", "c")}, "--ssl_cert behind --"),
        ({"extra": ("--enable-ssl",)}, "--enable-ssl behind --"),
        ({"extra": ("org/model",)}, "'org/model': expected an option, e.g. --model org/model"),
    ],
)
def test_options_that_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        ServeOptions(model="m", **options)


def test_words_that_are_vllms_alone():
    words = ("--seed", "-1", "--tensor-parallel-size=2", "--uvicorn-log-level", "warning", "-O3", "--hosts-file=x")
    assert ServeOptions(model="m", extra=words).extra == words


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (SHAPE | {"num_attention_heads": "9"}, TOKEN),
        (SHAPE | {"num_key_value_heads": [3] * 20 + [0] * 9 + [6]}, 2 * 66 * 64 * 2),
        ({"n_embd": 576, "n_head": 9, "n_layer": 30}, 3 * TOKEN),
    ],
)
def test_numbers_of_a_config(shape, size):
    assert token_bytes(shape, "bfloat16") == size
    assert token_bytes(shape, "float32") == 2 * size


def test_numbers_that_are_none_are_refused():
    odd = MODEL._replace(config=SHAPE | {"num_hidden_layers": {"a": 1}})
    with pytest.raises(ModelError, match=r"the configuration in m cannot be read: TypeError"):
        settled(odd)


def spread(free_bytes, **tuning):
    """On one of several GPUs, as words behind -- may say."""
    return settle(MODEL, Tuning(**tuning), is_cpu=False, free_bytes=free_bytes, is_spread=True)


def test_what_one_gpu_does_not_hold_is_said_where_words_may_spread_it():
    found = spread(GIB)
    assert (found.max_model_len, found.kv_cache_bytes) == (8192, None)
    assert found.said[-1].startswith("tried nevertheless, since words behind -- may change it: not enough memory: 0.25")
    room = WEIGHTS + PROCESS_BYTES
    found = spread(room + 4 * GIB, kv_cache_gb=9.0)
    assert found.kv_cache_bytes == 9 * GIB
    assert found.said[-1].endswith("4.00 GiB are free; type at most 4.0")
    found = spread(room + 1000 * TOKEN, max_model_len=8192)
    assert found.max_model_len == 8192
    assert found.said[-1].endswith("type at most 896")
    assert len(spread(20 * GIB).said) == 4, "nothing to say of what fits"


def test_a_key_is_for_what_others_reach(tmp_path):
    made = write(tmp_path / "m", {"dtype": "bfloat16", "max_position_embeddings": 512}, "model.safetensors")

    def config(host, variables):
        tuning = Tuning(device="cpu", kv_cache_gb=0.1)
        return resolve(ServeOptions(model=str(made), host=host, tuning=tuning, dry_run=True), variables).config

    for host in ("127.0.0.1", "127.0.0.2", "LOCALHOST", "::1", "0:0:0:0:0:0:0:1"):
        assert config(host, {}).api_key is None
    for host in ("0.0.0.0", "::", "", "10.0.0.1", "example.org"):
        with pytest.raises(UsageError, match="is open to other machines: say a key in"):
            config(host, {})
        assert config(host, {"DISTILL_EVAL_API_KEY": "ours", "VLLM_API_KEY": "theirs"}).api_key == "ours"


def test_the_variable_of_the_key():
    plain, said = ServeOptions(model="m"), ServeOptions(model="m", api_key="k")
    assert key_variable(plain, {}) is None
    assert key_variable(plain, {"VLLM_API_KEY": "a"}) == "VLLM_API_KEY"
    assert key_variable(plain, {"VLLM_API_KEY": "a", "DISTILL_EVAL_API_KEY": "b"}) == "DISTILL_EVAL_API_KEY"
    assert key_variable(said, {"VLLM_API_KEY": "a"}) == "DISTILL_EVAL_API_KEY"


def test_everything_comes_together(tmp_path):
    made = write(tmp_path / "m", {"dtype": "bfloat16", "max_position_embeddings": 512}, "model.safetensors")
    options = ServeOptions(
        model=str(made), tuning=Tuning(device="cpu", max_num_seqs=3), profile="cpu", dry_run=True, extra=("--x", "1")
    )
    found = resolve(options, {"VLLM_API_KEY": "theirs", "VLLM_CPU_KVCACHE_SPACE": "1"}).config
    assert (found.model, found.served_name, found.dtype, found.max_model_len) == (made, str(made), "bfloat16", 512)
    assert (found.max_num_seqs, found.max_num_batched_tokens, found.eager, found.extra) == (
        3,
        1024,
        False,
        ("--x", "1"),
    )
    assert (found.api_key, found.kv_cache_bytes, found.generation_config) == ("theirs", GIB, "auto")
    assert found.port > 0
    with pytest.raises(UsageError, match=r"--kv-cache-gb 2\.0: the environment says VLLM_CPU_KVCACHE_SPACE=1"):
        resolve(
            ServeOptions(model=str(made), tuning=Tuning(device="cpu", kv_cache_gb=2.0), dry_run=True),
            {"VLLM_CPU_KVCACHE_SPACE": "1"},
        )
