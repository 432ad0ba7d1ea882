"""`prepare` by importance, to a size, and anew: the whole stage on tiny teachers of every architecture it can cut."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fakes.tiny_families import logits, save
from fakes.tiny_teachers import CAUSAL, CLASSIFIERS, GROUPED, TEACHERS, TEXT, auto_class, kind, save_teacher
from transformers import AutoTokenizer

from distill_eval import cli
from distill_eval.calibration import TextSource, draw_documents, draw_pieces
from distill_eval.errors import ModelError, UsageError
from distill_eval.record import from_json
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import Shape, StudentInit
from distill_eval.student import folder
from distill_eval.student import prepare as stage
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.config import PrepareConfig
from distill_eval.student.depth import drop_layers, most_important
from distill_eval.student.importance import measure_importance, measure_removals
from distill_eval.student.loss import measure_loss
from distill_eval.student.shape import read_shape, with_heads
from distill_eval.student.width import choose_channels, narrow

run = partial(stage.run, argv=["prepare"])

SMALL = {"calibration_samples": 6, "calibration_length": 32, "device": "cpu"}
NARROW = {"num_layers": 4, "ffn_size": 40, "hidden_size": 16, "num_heads": 2}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Folders of teachers, made when they are first asked for, and a text."""
    root = tmp_path_factory.mktemp("teachers")
    (root / "text.txt").write_text("\n".join(TEXT))

    def teacher(family):
        if not (root / family).exists():
            save_teacher(family, root / family)
        return root / family

    return SimpleNamespace(text=root / "text.txt", teacher=teacher)


def config_for(shelf, family, output_dir, **options):
    text = {"calibration": str(shelf.text), **SMALL} if options.pop("calibrated", True) else {}
    return PrepareConfig(teacher=str(shelf.teacher(family)), output_dir=output_dir, **{**text, **options})


def load(family, path):
    return auto_class(family).from_pretrained(path, dtype="auto")


@pytest.mark.parametrize("importance", ["block-influence", "loss"])
@pytest.mark.parametrize("family", TEACHERS)
def test_a_cut_student_is_the_teacher_without_what_mattered_least(family, importance, shelf, tmp_path):
    config = config_for(shelf, family, tmp_path / "student", importance=importance, **NARROW)
    record = run(config)

    teacher = folder.load(ModelRef(name=family), shelf.teacher(family), kind(family))
    architecture = ARCHITECTURES[type(teacher).__name__]
    before = read_shape(teacher.config, architecture)
    after = with_heads(replace(before, num_layers=4, ffn_size=40, hidden_size=16), 2)
    tokenizer = AutoTokenizer.from_pretrained(shelf.teacher(family))
    draw = draw_pieces if kind(family) == "causal" else draw_documents
    text = TextSource(str(shelf.text), config.calibration_samples, config.calibration_length, seed=config.seed)
    ids = draw(text, tokenizer).ids
    seen = measure_importance(teacher, ids, kind(family), architecture, before)
    layers = seen.influence
    if importance == "loss":
        layers = measure_removals(teacher, ids, kind(family), seen.loss)
    kept = most_important(layers, 4, keep_ends=True)
    drop_layers(teacher, kept)
    channels, groups = choose_channels(seen.channels, before, after, kept)
    expected = narrow(teacher, architecture, before, after, channels, kind(family))

    student = load(family, tmp_path / "student")
    torch.testing.assert_close(logits(student), logits(expected), rtol=1e-5, atol=1e-5)
    assert student.num_parameters() == record.student_num_parameters == expected.num_parameters()
    assert (record.teacher_shape, record.student_shape) == (before, after)
    assert record.kept_layers == kept
    assert record.layers_chosen_by == "importance"
    assert record.layer_measure == importance
    assert record.layer_importance == pytest.approx(layers, abs=1e-5)
    assert record.channels == groups
    per_layer = [(group.axis, group.layer) for group in record.channels if group.layer is not None]
    assert sorted(per_layer) == sorted((axis, layer) for axis in ("ffn", "heads") for layer in kept)
    assert record.loss.num_scored == (6 * 31 if family in CAUSAL else 6)
    assert record.loss.teacher == pytest.approx(seen.loss.mean, rel=1e-6)
    after_loss = measure_loss(expected, ids, kind(family), seen.loss.answers_L)
    assert record.loss.student == pytest.approx(after_loss.mean, rel=1e-5)
    assert record.loss.kind == ("cross_entropy" if family in CAUSAL else "kl_to_teacher")
    artifact = tmp_path / "student" / "student.json"
    assert from_json(StudentInit, artifact.read_bytes(), source=str(artifact)) == record


@pytest.mark.parametrize("family", TEACHERS)
def test_everything_kept_is_bit_identical_to_the_teacher(family, shelf, tmp_path):
    full = {"num_layers": 6, "hidden_size": 32, "num_heads": 4, "ffn_size": 128 if family == "gpt2" else 48}
    for name, options in {"sizes": full, "ratio": {"ratio": 1.0}, "list": {"keep_layers": ":"}}.items():
        record = run(config_for(shelf, family, tmp_path / name, **options))
        weights = [(path / "model.safetensors").read_bytes() for path in (tmp_path / name, shelf.teacher(family))]
        assert weights[0] == weights[1]
        ours, theirs = (load(family, path) for path in (tmp_path / name, shelf.teacher(family)))
        assert ours.config.to_dict() == theirs.config.to_dict() | {"_name_or_path": ours.config._name_or_path}
        assert torch.equal(logits(ours), logits(theirs))
        assert record.loss.student == record.loss.teacher
        assert (record.dropped_layers, record.channels, record.layers_chosen_by) == ((), (), None)
        assert len(record.layer_importance) == 6


@pytest.mark.parametrize("family", TEACHERS)
def test_a_ratio_is_met(family, shelf, tmp_path):
    record = run(config_for(shelf, family, tmp_path / "student", ratio=0.6))
    student = load(family, tmp_path / "student")
    assert record.target_num_parameters == round(0.6 * record.teacher_num_parameters)
    assert student.num_parameters() == record.student_num_parameters
    assert abs(record.student_num_parameters / record.target_num_parameters - 1) <= 0.02
    assert record.student_shape == read_shape(student.config, ARCHITECTURES[record.architecture])
    assert record.student_size_bytes == (tmp_path / "student" / "model.safetensors").stat().st_size


@pytest.mark.parametrize("family", TEACHERS)
def test_a_fresh_student(family, shelf, tmp_path):
    options = {"fresh": True, "num_layers": 3, "hidden_size": 16, "calibrated": False}
    record = run(config_for(shelf, family, tmp_path / "student", **options, seed=7))
    again = run(config_for(shelf, family, tmp_path / "again", **options, seed=7))
    student = load(family, tmp_path / "student")
    neurons = 64 if family == "gpt2" else 24
    assert record.student_shape == Shape(
        num_layers=3,
        hidden_size=16,
        ffn_size=neurons,
        num_heads=2,
        num_kv_heads=1 if family in GROUPED else 2,
        head_dim=8,
    )
    assert student.num_parameters() == record.student_num_parameters
    assert (record.fresh.init, record.fresh.seed, record.fresh.num_parameters_from_teacher) == ("random", 7, 0)
    assert (record.kept_layers, record.dropped_layers, record.loss, record.calibration) == ((), (), None, None)
    assert again == record
    assert torch.equal(logits(student), logits(load(family, tmp_path / "again")))


def test_a_fresh_student_to_a_size_with_the_teachers_tensors(shelf, tmp_path):
    record = run(
        config_for(shelf, "llama", tmp_path / "student", fresh=True, ratio=0.5, hidden_size=32, init="teacher")
    )
    assert abs(record.student_num_parameters / record.teacher_num_parameters - 0.5) <= 0.01
    assert 2 * 260 * 32 < record.fresh.num_parameters_from_teacher <= record.student_num_parameters
    student, teacher = load("llama", tmp_path / "student"), load("llama", shelf.teacher("llama"))
    assert torch.equal(student.model.embed_tokens.weight, teacher.model.embed_tokens.weight)
    assert record.loss.teacher != record.loss.student
    assert record.layer_importance is None


def test_a_listed_student_of_any_causal_architecture_can_be_measured(shelf, tmp_path):
    save("gemma2", tmp_path / "gemma2")
    config = PrepareConfig(
        teacher=str(tmp_path / "gemma2"),
        output_dir=tmp_path / "student",
        drop_layers="1,4",
        calibration=str(shelf.text),
        **SMALL,
    )
    record = run(config)
    assert (record.kept_layers, record.layers_chosen_by) == ((0, 2, 3, 5), "list")
    assert (record.teacher_shape, record.student_shape, record.channels) == (None, None, ())
    assert len(record.layer_importance) == 6
    assert record.loss.student != record.loss.teacher


def test_a_target_with_listed_layers_and_fixed_heads(shelf, tmp_path):
    options = {"keep_layers": "0,2-5", "num_heads": 4, "target_params": "40K"}
    record = run(config_for(shelf, "mistral", tmp_path / "student", **options))
    assert record.kept_layers == (0, 2, 3, 4, 5)
    assert (record.student_shape.num_heads, record.layers_chosen_by) == (4, "list")
    assert abs(record.student_num_parameters / 40_000 - 1) <= 0.02


def test_dtype_and_tokenizer_files_are_the_teachers(shelf, tmp_path):
    save_teacher("qwen3", tmp_path / "teacher", dtype=torch.bfloat16)
    config = config_for(shelf, "llama", tmp_path / "student", ratio=0.7)
    record = run(replace(config, teacher=str(tmp_path / "teacher")))
    assert record.dtype == "bfloat16"
    assert load("qwen3", tmp_path / "student").dtype == torch.bfloat16
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "student" / name).read_bytes() == (tmp_path / "teacher" / name).read_bytes()


def test_the_command(shelf, tmp_path, capsys):
    line = (
        f"prepare --teacher {shelf.teacher('llama')} --output-dir {tmp_path / 'student'} --num-layers 3 "
        f"--importance loss --no-keep-ends --calibration {shelf.text} --calibration-samples 4 --calibration-length 32"
    )
    assert cli.main(line.split()) == 0
    said = capsys.readouterr().out
    assert f"Student: {tmp_path / 'student'} (39,904 of 63,136 parameters)" in said
    for line in (
        "importance, calibration samples: 0 of 4",
        "loss without a layer, layers: 6 of 6",
        "loss of the student",
    ):
        assert line in said
    written = json.loads((tmp_path / "student" / "student.json").read_text())
    order = sorted(range(6), key=lambda layer: -written["layer_importance"][layer])
    assert written["kept_layers"] == sorted(order[:3])
    assert written["version"] == 3


BAD = {
    "too many layers": ("llama", {"num_layers": 7}, "--num-layers 7: the teacher has 6, and a student not more"),
    "layer that is not there": ("llama", {"drop_layers": "6"}, "--drop-layers '6': '6' goes beyond the teacher's"),
    "no room for the ends": ("llama", {"num_layers": 1}, "--num-layers 1: the first and the last layer are kept"),
    "larger than the teacher": (
        "llama",
        {"target_params": "80K"},
        "--target-params 80K: the teacher has 63.14K (63,136), and a student not more",
    ),
    "fresh and larger": ("bert", {"fresh": True, "target_params": "1M"}, "--target-params 1M: the teacher has 58.72K"),
    "not met": (
        "llama",
        {"ratio": 0.99, "num_layers": 3},
        "no student with --num-layers 3 has 62.51K parameters within 2%. Nearest: 39.9K",
    ),
    "torn group": ("llama", {"num_heads": 3}, "--num-heads 3: the teacher's 4 heads share 2 key and value heads"),
    "hidden size alone": (
        "bert",
        {"hidden_size": 16},
        (
            "--hidden-size 16 with --num-heads 4: the hidden size of BERT is its number of heads times 8. "
            "Type --hidden-size 16 --num-heads 2"
        ),
    ),
    "both with a target": (
        "gpt2",
        {"hidden_size": 16, "num_heads": 3, "ratio": 0.5},
        "--hidden-size 16 with --num-heads 3: the hidden size of GPT-2 is",
    ),
    "not a multiple": (
        "gemma3",
        {"hidden_size": 18},
        (
            "--hidden-size 18 with --num-heads 4: Gemma 3 (text) wants a hidden size that is a multiple of its number "
            "of heads. Type --hidden-size 16, or another --num-heads"
        ),
    ),
    "samples too long": (
        "llama",
        {"num_layers": 3, "calibration_length": 129},
        "--calibration-length 129: the teacher takes 128 tokens",
    ),
    "no such text": ("llama", {"ratio": 0.5, "calibration": "nowhere.txt"}, "--calibration nowhere.txt: no such file"),
    "nothing to take": (
        "llama",
        {"fresh": True, "hidden_size": 16, "init": "teacher"},
        "--init teacher: no tensor of the new student has its teacher's shape",
    ),
    "no such device": ("llama", {"ratio": 0.5, "device": "cuda:7"}, "--device cuda:7: no CUDA here"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_leaves_nothing(case, shelf, tmp_path):
    if "CUDA" in BAD[case][2] and torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    family, options, message = BAD[case]
    with pytest.raises(UsageError) as error:
        run(config_for(shelf, family, tmp_path / "student", **options))
    assert str(error.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_another_architecture_is_refused_with_the_list(shelf, tmp_path):
    save("gemma2", tmp_path / "gemma2")
    for options in ({"ratio": 0.5}, {"num_layers": 3}, {"ffn_size": 8}, {"fresh": True, "ratio": 0.5}):
        config = config_for(shelf, "llama", tmp_path / "student", **options)
        with pytest.raises(ModelError) as error:
            run(replace(config, teacher=str(tmp_path / "gemma2")))
        assert str(error.value) == (
            f"'{tmp_path / 'gemma2'}' is a Gemma2ForCausalLM, of which layers can be listed with --keep-layers or "
            f"--drop-layers and nothing else. All options know {', '.join(sorted(ARCHITECTURES))}"
        )
    assert len(ARCHITECTURES) == 11


def test_a_layer_that_knows_its_number_is_refused(shelf, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2Config(scale_attn_by_inverse_layer_idx=True, architectures=[GPT2LMHeadModel.__name__]).save_pretrained(
        tmp_path / "teacher"
    )
    config = replace(config_for(shelf, "llama", tmp_path / "student", ratio=0.5), teacher=str(tmp_path / "teacher"))
    with pytest.raises(ModelError, match="has scale_attn_by_inverse_layer_idx=True: expected False"):
        run(config)


def test_a_regression_has_no_loss_to_measure(shelf, tmp_path):
    model = save_teacher("bert", tmp_path / "teacher")
    model.config.num_labels = 1
    model.classifier = torch.nn.Linear(32, 1)
    model.save_pretrained(tmp_path / "teacher")
    config = config_for(shelf, "bert", tmp_path / "student", num_layers=3)
    with pytest.raises(UsageError, match="this classifier gives 1 labels"):
        run(replace(config, teacher=str(tmp_path / "teacher")))
    plain = config_for(shelf, "bert", tmp_path / "student", keep_layers="::2", calibrated=False)
    record = run(replace(plain, teacher=str(tmp_path / "teacher")))
    assert record.kept_layers == (0, 2, 4)
    assert record.architecture == "BertForSequenceClassification"
    assert set(CLASSIFIERS) == {"bert", "distilbert", "roberta"}
