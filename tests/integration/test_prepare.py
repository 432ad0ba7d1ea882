"""The whole `prepare` stage on tiny models of every family, and everything that it refuses."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from fakes.tiny_families import CONFIGS, NUM_LAYERS, logits, make_model, make_tokenizer, save
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BertConfig, T5Config

from distill_eval.errors import ModelError, StoreError, UsageError
from distill_eval.record import from_json
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import StudentInit
from distill_eval.student import prepare as stage
from distill_eval.student.config import PrepareConfig
from distill_eval.student.depth import drop_layers

run = partial(stage.run, argv=["prepare"])


def prepare(teacher, keep_layers, output_dir):
    return run(PrepareConfig(teacher=str(teacher), keep_layers=keep_layers, output_dir=output_dir))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "llama"
    save("llama", folder)
    return folder


def refused(error, teacher, keep_layers, output_dir):
    """The message with which a call is refused; nothing is left behind."""
    before = sorted(output_dir.parent.iterdir()) if output_dir.parent.is_dir() else None
    with pytest.raises(error) as raised:
        prepare(teacher, keep_layers, output_dir)
    assert (sorted(output_dir.parent.iterdir()) if output_dir.parent.is_dir() else None) == before
    return str(raised.value)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_folder_loads_as_the_model_that_was_made(family, tmp_path):
    expected = save(family, tmp_path / "teacher")
    record = prepare(tmp_path / "teacher", "0,2-3,5", tmp_path / "out" / "student")
    drop_layers(expected, (0, 2, 3, 5))

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "student")
    assert torch.equal(logits(loaded), logits(expected))
    assert loaded.config.num_hidden_layers == 4
    assert (record.kept_layers, record.dropped_layers) == ((0, 2, 3, 5), (1, 4))
    assert record.architecture == type(loaded).__name__
    assert record.student_num_parameters == loaded.num_parameters()
    artifact = tmp_path / "out" / "student" / "student.json"
    assert from_json(StudentInit, artifact.read_bytes(), source=str(artifact)) == record


@pytest.mark.parametrize("family", CONFIGS)
def test_every_layer_kept_is_bit_identical(family, tmp_path):
    teacher = save(family, tmp_path / "teacher", dtype=torch.bfloat16)
    record = prepare(tmp_path / "teacher", f"0-{NUM_LAYERS - 1}", tmp_path / "student")
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "student", dtype="auto")

    assert student.dtype == torch.bfloat16
    old, new = teacher.state_dict(), student.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert torch.equal(logits(teacher), logits(student))
    assert record.dropped_layers == ()
    assert record.student_num_parameters == record.teacher_num_parameters
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("teacher", "student")]
    assert weights[0] == weights[1]


def test_the_record_counts(llama, tmp_path):
    record = prepare(llama, "::2", tmp_path / "student")
    per_layer = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48 + 2 * 32  # q, k and v, o, mlp, norms
    assert record.teacher == ModelRef(name=str(llama))
    assert record.teacher_commit is None
    assert record.dtype == "float32"
    assert record.teacher_num_parameters == 2 * 260 * 32 + 32 + 6 * per_layer
    assert record.teacher_num_parameters - record.student_num_parameters == 3 * per_layer
    assert record.teacher_size_bytes == (llama / "model.safetensors").stat().st_size
    assert record.student_size_bytes == (tmp_path / "student" / "model.safetensors").stat().st_size
    header = record.student_size_bytes - 4 * record.student_num_parameters
    assert 0 < header < 4096


def test_a_process_without_this_package_loads_it(llama, tmp_path):
    prepare(llama, "0,5", tmp_path / "student")
    code = (
        "import sys; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        "m, t = M.from_pretrained(sys.argv[1]), T.from_pretrained(sys.argv[1])\n"
        "print(m.config.num_hidden_layers, t.decode(t('It is 7.')['input_ids']), 'distill_eval' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "student")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 It is 7. False"


def test_tokenizer_files_are_copied_to_the_byte(llama, tmp_path):
    prepare(llama, "0", tmp_path / "student")
    names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]
    for name in names:
        assert (tmp_path / "student" / name).read_bytes() == (llama / name).read_bytes()
    teacher, student = (AutoTokenizer.from_pretrained(path) for path in (llama, tmp_path / "student"))
    assert student("caf\u00e9 12")["input_ids"] == teacher("caf\u00e9 12")["input_ids"]
    assert student.chat_template == teacher.chat_template


def test_sharded_weights(llama, tmp_path):
    model = make_model("llama")
    model.save_pretrained(tmp_path / "teacher", max_shard_size="20KB")
    make_tokenizer().save_pretrained(tmp_path / "teacher")
    assert len(list((tmp_path / "teacher").glob("model-*.safetensors"))) > 2
    record = prepare(tmp_path / "teacher", "0,5", tmp_path / "student")
    assert record.student_num_parameters == prepare(llama, "0,5", tmp_path / "other").student_num_parameters

    next((tmp_path / "teacher").glob("model-00002-*")).unlink()
    assert "model-00002-of-" in refused(ModelError, tmp_path / "teacher", "0,5", tmp_path / "third")


def test_an_empty_output_folder_is_used_and_readable_by_others(llama, tmp_path):
    (tmp_path / "student").mkdir()
    prepare(llama, "0", tmp_path / "student")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "student").iterdir()}
    (tmp_path / "other").write_text("")
    assert modes == {(tmp_path / "other").stat().st_mode & 0o777}


def test_an_output_folder_in_use_is_refused(llama, tmp_path):
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "notes.txt").write_text("mine")
    message = refused(UsageError, llama, "0", tmp_path / "student")
    assert message == (
        f"--output-dir {tmp_path / 'student'} exists and is not an empty folder: name another, or remove it"
    )
    assert (tmp_path / "student" / "notes.txt").read_text() == "mine"
    assert "is not an empty folder" in refused(UsageError, llama, "0", tmp_path / "student" / "notes.txt")


def test_an_unwritable_output_folder_is_refused(llama, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(StoreError, llama, "0", tmp_path / "file" / "student")
    assert message.startswith(f"cannot write below {tmp_path / 'file'}: ")


def test_layers_are_checked_before_weights_are_looked_for(llama, tmp_path):
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_bytes((llama / "config.json").read_bytes())
    assert "'6' goes beyond the teacher's layers, which are 0 to 5" in refused(
        UsageError, tmp_path / "teacher", "0,6", tmp_path / "student"
    )
    assert refused(ModelError, tmp_path / "teacher", "0,5", tmp_path / "student") == (
        f"'{tmp_path / 'teacher'}': no weights in {tmp_path / 'teacher'}; "
        "expected model.safetensors or model.safetensors.index.json"
    )


def test_pickle_weights_are_refused(llama, tmp_path):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (teacher / name).write_bytes((llama / name).read_bytes())
    torch.save({}, teacher / "pytorch_model.bin")
    message = refused(ModelError, teacher, "0", tmp_path / "student")
    assert "has pickle weights only (pytorch_model.bin), which can run code" in message


def test_a_missing_tensor_is_refused_rather_than_filled_with_noise(llama, tmp_path):
    from safetensors.torch import load_file, save_file

    teacher = tmp_path / "teacher"
    save("llama", teacher)
    tensors = load_file(teacher / "model.safetensors")
    del tensors["model.layers.3.mlp.up_proj.weight"]
    save_file(tensors, teacher / "model.safetensors", metadata={"format": "pt"})
    message = refused(ModelError, teacher, "0", tmp_path / "student")
    assert message.endswith("lack 1 tensors, e.g. model.layers.3.mlp.up_proj.weight")


def test_a_damaged_weight_file_is_named(tmp_path):
    save("llama", tmp_path / "teacher")
    (tmp_path / "teacher" / "model.safetensors").write_bytes(b"\0" * 100)
    message = refused(ModelError, tmp_path / "teacher", "0", tmp_path / "student")
    assert message.startswith(f"the weights of '{tmp_path / 'teacher'}' cannot be loaded: ")


@pytest.mark.parametrize(("kind", "name"), [("t5", "T5ForConditionalGeneration"), ("bert", "BertForMaskedLM")])
def test_what_is_not_a_decoder_is_refused(kind, name, tmp_path):
    config = T5Config(architectures=[name]) if kind == "t5" else BertConfig(architectures=[name])
    config.save_pretrained(tmp_path / "teacher")
    message = refused(ModelError, tmp_path / "teacher", "0", tmp_path / "student")
    assert message == (
        f"'{tmp_path / 'teacher'}' is a {name}: expected a causal language model without an encoder, or one of "
        "BertForSequenceClassification, DistilBertForSequenceClassification, RobertaForSequenceClassification"
    )


def test_code_from_a_repository_is_never_run(tmp_path):
    (tmp_path / "teacher").mkdir()
    config = {"model_type": "strange", "auto_map": {"AutoConfig": "configuration.Strange"}}
    (tmp_path / "teacher" / "config.json").write_text(json.dumps(config))
    (tmp_path / "teacher" / "configuration.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    message = refused(ModelError, tmp_path / "teacher", "0", tmp_path / "student")
    assert message.startswith(
        f"the config of '{tmp_path / 'teacher'}' cannot be read (code from a repository is never run): "
    )
    assert not (tmp_path / "ran").exists()


def test_a_quantized_teacher_is_refused(llama, tmp_path):
    config = AutoConfig.from_pretrained(llama)
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    config.save_pretrained(tmp_path / "teacher")
    assert "is quantized" in refused(ModelError, tmp_path / "teacher", "0", tmp_path / "student")


def test_a_config_that_ties_a_layer_to_its_number_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=260, n_layer=4, n_embd=32, n_head=4, scale_attn_by_inverse_layer_idx=True)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "teacher")
    make_tokenizer().save_pretrained(tmp_path / "teacher")
    message = refused(ModelError, tmp_path / "teacher", "0,3", tmp_path / "student")
    assert message.startswith("GPT2LMHeadModel computes something else after layers are dropped")


def test_a_model_that_cannot_be_had_is_named(tmp_path, monkeypatch):
    message = refused(ModelError, "a b/c", "0", tmp_path / "student")
    assert message.startswith("teacher 'a b/c' is neither a folder nor a model on http")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refused(ModelError, "nobody/nothing@v1", "0", tmp_path / "student")
    assert message.startswith("teacher 'nobody/nothing@v1' is not in the Hub cache, and http")


def test_a_missing_folder_or_tokenizer_is_named(llama, tmp_path):
    assert refused(ModelError, tmp_path / "nowhere", "0", tmp_path / "student") == (
        f"teacher '{tmp_path / 'nowhere'}' is not a folder. "
        "Expected one with config.json and model.safetensors, or a Hub name"
    )
    (tmp_path / "teacher").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "teacher" / name).write_bytes((llama / name).read_bytes())
    message = refused(ModelError, tmp_path / "teacher", "0", tmp_path / "student")
    assert message.startswith(f"the tokenizer of '{tmp_path / 'teacher'}' cannot be loaded")
    assert "has no revision" in refused(UsageError, f"{llama}@main", "0", tmp_path / "student")
