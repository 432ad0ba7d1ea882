"""`distill` on tiny models: it learns, it resumes to the bit, and it says what goes wrong."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from fakes.tiny_families import VOCAB_SIZE, make_model, make_tokenizer, save
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from distill_eval.distill import cache_stage, checkpoints
from distill_eval.distill import run as stage
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig, LossConfig, TrainingConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.settings import Batching
from distill_eval.errors import DistillEvalError, StoreError, TrainingError, UsageError

WORDS = ["bone", "heart", "liver", "first", "second", "who", "where", "answer", "long", "way"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, students and a text."""
    root = tmp_path_factory.mktemp("distill")
    save("llama", root / "teacher", seed=0)
    save("llama", root / "student", seed=1)
    draw = random.Random(0)
    lines = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(4, 20))) for _ in range(120)]
    (root / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return root


def config(place, output, *, loss=None, training=None, data=None, **options):
    data = {"data": str(place / "text.jsonl"), "max_length": 32, "validation_documents": 10} | (data or {})
    training = {"steps": 8, "batch_size": 2, "learning_rate": 3e-3, "device": "cpu", "eval_every": 4} | (training or {})
    options = {"student": str(place / "student"), "teacher": (str(place / "teacher"),)} | options
    return DistillConfig(
        data=DataConfig(**data),
        loss=LossConfig(**(loss or {})),
        training=TrainingConfig(**training),
        output_dir=output,
        **options,
    )


def train(place, output, **options):
    return stage.run(config(place, output, **options), argv=["distill"], say=lambda line: None)


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("eval_every", "expected"), [(2, 3), (3, 3)])
def test_what_did_not_learn_since_is_not_validated_again(place, tmp_path, monkeypatch, eval_every, expected):
    """Before, at step 2 and 4; or before, at step 3 and at the end."""
    from distill_eval.distill.lesson import TextLesson

    own, seen = TextLesson.validate, []
    monkeypatch.setattr(TextLesson, "validate", lambda *args: seen.append(own(*args)) or seen[-1])
    done = train(place, tmp_path / "out", training={"steps": 4, "eval_every": eval_every})
    assert len(seen) == expected
    assert done.after == seen[-1]
    assert done.after.hard_loss < seen[-2].hard_loss < done.before.hard_loss


def test_the_student_comes_nearer_to_its_teacher_and_is_a_plain_folder(place, tmp_path):
    done = train(place, tmp_path / "out", training={"steps": 30})
    assert done.after.kl < 0.8 * done.before.kl
    assert done.num_steps == 30
    assert done.teacher_validation.perplexity > 1
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.num_parameters() == done.num_parameters
    assert not list((tmp_path / "out").glob("checkpoint-*"))
    read = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert read["settings"]["--steps"] == "30"
    points = [point["values"] for point in read["curve"]]
    assert any("soft_loss" in values and "hard_loss" in values and "grad_norm" in values for values in points)
    soft = [values["soft_loss"] for values in points if "soft_loss" in values]
    assert soft[-1] < soft[0]


def test_alpha_divergences_and_inner_losses_all_train(place, tmp_path):
    for number, loss in enumerate(
        (
            {"loss": "reverse_kl"},
            {"loss": "jsd", "beta": 0.3},
            {"loss": "tv", "alpha": 1.0},
            {"feature_weight": 0.5, "layer_map": "last"},
            {"attention_weight": 1.0},
            {"attention_weight": 1.0, "attention_loss": "value_relation"},
        )
    ):
        done = train(place, tmp_path / str(number), loss=loss, training={"steps": 20})
        assert done.after.kl < done.before.kl, loss
        names = {name for point in done.curve for name in point.values}
        assert ("feature_loss" in names) == ("feature_weight" in loss)
        assert ("attention_loss" in names) == ("attention_weight" in loss)


def test_bfloat16_trains_as_float32_does_to_its_precision(place, tmp_path):
    steps = {"steps": 4, "eval_every": 1}
    wide = train(place, tmp_path / "wide", training=steps)
    narrow = train(place, tmp_path / "narrow", training=steps | {"dtype": "bfloat16"})
    for ours, theirs in zip(narrow.curve, wide.curve, strict=True):
        for name in ours.values.keys() & {"soft_loss", "hard_loss", "eval_kl"}:
            assert ours.values[name] == pytest.approx(theirs.values[name], rel=3e-2), name
    assert narrow.curve != wide.curve  # it did compute in another precision
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "narrow").values())


def test_hidden_states_and_attention_are_compared_together(place, tmp_path):
    done = train(place, tmp_path / "out", loss={"feature_weight": 1.0, "attention_weight": 1.0, "layer_map": "uniform"})
    logged = set().union(*(point.values for point in done.curve))
    assert {"feature_loss", "attention_loss"} <= logged


def test_a_training_that_ends_in_nothing_says_so(place, tmp_path):
    with pytest.raises(TrainingError, match=r"validation loss after training is (nan|inf).*--learning-rate"):
        train(place, tmp_path / "out", training={"steps": 1, "learning_rate": 1e20, "warmup": 0.0, "eval_every": 1})
    assert not (tmp_path / "out" / "distill.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"baseline": True, "training": {"patience": 1}}, "--patience 1: a baseline takes the steps of its student"),
        ({"baseline": True, "training": {"stop_within": 0.1}}, "--stop-within 0.1: a baseline takes the steps"),
        ({"teacher": (), "loss": {"alpha": 0.0}, "training": {"stop_within": 0.1}}, "needs a live --teacher"),
        (
            {"student": "", "chain": ("20K",), "cached_teacher": Path("c")},
            "--cached-teacher c: each model of --chain",
        ),
    ],
)
def test_options_that_would_not_be_heeded_are_refused(options, said, place, tmp_path):
    with pytest.raises(UsageError, match=re.escape(said)):
        config(place, tmp_path / "out", **options)


def test_a_baseline_sees_the_same_text_and_no_teacher(place, tmp_path):
    taught = train(place, tmp_path / "taught")
    baseline = train(place, tmp_path / "baseline", baseline=True)
    plain = train(place, tmp_path / "plain", teacher=(), loss={"alpha": 0.0})
    assert taught.data == baseline.data == plain.data
    assert same(weights(tmp_path / "baseline"), weights(tmp_path / "plain"))
    assert not same(weights(tmp_path / "baseline"), weights(tmp_path / "taught"))
    assert baseline.after.kl is not None
    assert plain.after.kl is None


def test_accumulation_and_larger_batches_take_the_same_steps(place, tmp_path):
    whole = train(place, tmp_path / "whole", training={"batch_size": 4})
    parts = train(place, tmp_path / "parts", training={"batch_size": 1, "accumulate": 4})
    for a, b in zip(_losses(whole), _losses(parts), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def _losses(done):
    return [point.values["loss"] for point in done.curve if "loss" in point.values]


def test_the_last_steps_may_train_on_the_text_alone(place, tmp_path):
    done = train(
        place,
        tmp_path / "out",
        loss={"hard_last": 0.5, "feature_weight": 1.0},
        training={"steps": 8, "eval_every": 4},
    )
    taught = [point.step for point in done.curve if "soft_loss" in point.values]
    alone = [point.step for point in done.curve if "hard_loss" in point.values and "soft_loss" not in point.values]
    assert taught
    assert max(taught) <= 4 < min(alone)
    assert [point.step for point in done.curve if "feature_loss" in point.values] == taught


def test_it_stops_when_the_student_is_near_enough_or_stalls(place, tmp_path):
    near = train(place, tmp_path / "near", training={"steps": 40, "stop_within": 1000.0})
    assert near.num_steps == 4
    assert "--stop-within" in near.stopped
    stalled = train(place, tmp_path / "stalled", training={"steps": 40, "patience": 1, "learning_rate": 1e-12})
    assert stalled.num_steps < 40
    assert "--patience" in stalled.stopped
    assert any("did not learn" in finding.text for finding in stalled.findings)


def test_a_cached_teacher_teaches_as_the_live_one_does(place, tmp_path):
    def cache(kind, **options):
        options = {"teacher": str(place / "teacher"), "student": str(place / "student"), "device": "cpu"} | options
        data = DataConfig(data=str(place / "text.jsonl"), max_length=32, validation_documents=10)
        settings = CacheTeacherConfig(kind=kind, data=data, output_dir=tmp_path / kind, **options)
        return cache_stage.run(settings, say=lambda line: None)

    live = train(place, tmp_path / "live", training={"steps": 20})
    for kind in ("sample", "top_k"):
        manifest = cache(kind)
        assert manifest.num_rows == live.data.num_scored_tokens
        assert manifest.bytes_per_token <= 128
        kept = train(
            place, tmp_path / f"from-{kind}", teacher=(), cached_teacher=tmp_path / kind, training={"steps": 20}
        )
        assert kept.data == live.data
        fall = live.before.hard_loss - live.after.hard_loss
        assert kept.before.hard_loss - kept.after.hard_loss == pytest.approx(fall, rel=0.2)
        assert [str(teacher) for teacher in kept.teachers] == [str(place / "teacher")]


def test_the_cache_of_another_teacher_student_or_temperature_is_refused(place, tmp_path):
    def cache(teacher, name, **options):
        data = DataConfig(data=str(place / "text.jsonl"), max_length=32, validation_documents=10)
        options = {"teacher": str(teacher), "student": str(place / "student"), "device": "cpu"} | options
        cache_stage.run(CacheTeacherConfig(data=data, output_dir=tmp_path / name, **options), say=lambda line: None)
        return tmp_path / name

    def refused(**options):
        with pytest.raises(UsageError) as caught:
            train(place, tmp_path / "bad", cached_teacher=kept, **{"teacher": ()} | options)
        assert not (tmp_path / "bad").exists()
        return str(caught.value)

    save("llama", tmp_path / "other", seed=7)
    kept = cache(place / "teacher", "kept")
    assert "temperature 2.0 there, 3.0 here" in refused(loss={"temperature": 3.0})
    said = refused(teacher=(str(tmp_path / "other"),))
    assert f"{kept} holds the rows of {place / 'teacher'} for something else: teacher_digest" in said
    assert "a --cached-teacher is of one of them" in refused(teacher=(str(place / "teacher"), str(tmp_path / "other")))
    wider = make_model("llama", seed=1)
    wider.resize_token_embeddings(300)
    wider.save_pretrained(tmp_path / "wider")
    make_tokenizer().save_pretrained(tmp_path / "wider")
    assert "vocab_size 260 there, 300 here" in refused(student=str(tmp_path / "wider"))
    swapped = make_tokenizer()
    swapped.backend_tokenizer.add_tokens(["never in the text"])
    shutil.copytree(place / "student", tmp_path / "swapped")
    swapped.save_pretrained(tmp_path / "swapped")
    assert "tokenizer_digest" in refused(student=str(tmp_path / "swapped"))

    train(place, tmp_path / "named", cached_teacher=kept, training={"steps": 2})  # beside its own teacher
    unnamed = {"teacher": (), "cached_teacher": kept, "training": {"steps": 2}}
    train(place, tmp_path / "out", **unnamed)
    (tmp_path / "out" / "distill.json").unlink()
    shutil.rmtree(kept)
    cache(tmp_path / "other", "kept")
    with pytest.raises(UsageError, match="the content of --cached-teacher is not what the run in"):
        train(place, tmp_path / "out", resume=True, **unnamed)


def test_a_run_is_not_resumed_on_other_data(place, tmp_path):
    data = shutil.copy(place / "text.jsonl", tmp_path)
    train(place, tmp_path / "out", data={"data": str(data)}, training={"steps": 2})
    (tmp_path / "out" / "distill.json").unlink()
    with Path(data).open("a") as file:
        file.write(json.dumps({"text": "one more"}) + "\n")
    with pytest.raises(UsageError, match="the content of --data is not what the run in"):
        train(place, tmp_path / "out", data={"data": str(data)}, training={"steps": 2}, resume=True)


def narrow_student(folder):
    """Three layers of half the teacher's width."""
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE, hidden_size=16, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, num_hidden_layers=3, max_position_embeddings=128,
        bos_token_id=256, eos_token_id=257, pad_token_id=257,
    )  # fmt: skip
    make_model(config, seed=1).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)


def cache_states(place, output, student, said=None, **options):
    """A cache of the data that `config` trains on."""
    data = DataConfig(data=str(place / "text.jsonl"), max_length=32, validation_documents=10)
    settings = CacheTeacherConfig(
        teacher=str(place / "teacher"), student=student, device="cpu", data=data, output_dir=output, **options
    )
    return cache_stage.run(settings, say=(said if said is not None else []).append)


def values(done, name):
    return [point.values[name] for point in done.curve if name in point.values]


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_cached_hidden_states_teach_as_the_live_teachers_do(distance, place, tmp_path):
    """The bound: 1e-3 of the loss. A number in float16 is off by up to 2^-11 of itself, half of that."""
    student, said = narrow_student(tmp_path / "student"), []
    manifest = cache_states(place, tmp_path / "cache", student, said, kind="hidden")
    assert (manifest.key.layers, manifest.key.num_layers, manifest.key.hidden_size) == ((1, 3, 5), 6, 32)
    num_bytes = 3 * 32 * 2
    assert f"{manifest.num_rows:,} tokens, at most {num_bytes} bytes per token" in said[0]
    assert "(3 layers x 32 x 2 bytes; the limit of 128 bytes is that of soft labels alone)" in said[0]
    assert manifest.bytes_per_token <= num_bytes + 4  # the files' heads, on so little text
    loss = {"alpha": 0.0, "feature_weight": 1.0, "feature_loss": distance}
    live = train(place, tmp_path / "live", student=student, loss=loss, training={"steps": 20})
    kept = train(
        place, tmp_path / "kept", student=student, loss=loss, training={"steps": 20},
        teacher=(), cached_teacher=tmp_path / "cache",
    )  # fmt: skip
    for name in ("loss", "feature_loss", "hard_loss"):
        assert values(kept, name) == pytest.approx(values(live, name), rel=1e-3)
    assert values(kept, "feature_loss")[-1] < values(kept, "feature_loss")[0]
    assert kept.data == live.data


def test_one_cache_holds_soft_labels_and_hidden_states(place, tmp_path):
    student = narrow_student(tmp_path / "student")
    both = cache_states(place, tmp_path / "both", student, layer_map="0:1,2:5")
    soft = cache_states(place, tmp_path / "soft", student)
    assert both.key.layers == (1, 5)
    assert both.bytes_per_token <= soft.bytes_per_token + 2 * 32 * 2 + 1
    options = {"student": student, "teacher": (), "training": {"steps": 10}}
    features = {"feature_weight": 1.0, "layer_map": "0:1,2:5"}
    live = train(place, tmp_path / "live", student=student, training={"steps": 10}, loss=features)
    kept = train(place, tmp_path / "kept", cached_teacher=tmp_path / "both", loss=features, **options)
    for name, bound in (("feature_loss", 0.02), ("soft_loss", 0.1)):  # the soft labels are drawn
        assert values(kept, name) == pytest.approx(values(live, name), rel=bound)
    plain = [
        train(place, tmp_path / f"p-{name}", cached_teacher=tmp_path / name, **options) for name in ("both", "soft")
    ]
    assert same(weights(tmp_path / "p-both"), weights(tmp_path / "p-soft"))
    assert values(plain[0], "feature_loss") == []


def test_a_cache_without_what_the_layers_need_is_refused(place, tmp_path):
    student = narrow_student(tmp_path / "student")
    cache_states(place, tmp_path / "soft", student)
    cache_states(place, tmp_path / "hidden", student, kind="hidden", layer_map="last")

    def refused(folder, **loss):
        with pytest.raises(UsageError) as caught:
            train(place, tmp_path / "bad", student=student, teacher=(), cached_teacher=tmp_path / folder, loss=loss)
        return str(caught.value)

    assert "soft holds no hidden states. Run cache-teacher with --layer-map last" in refused(
        "soft", feature_weight=1.0, layer_map="last"
    )
    said = refused("hidden", feature_weight=1.0, alpha=0.0)
    assert "--layer-map uniform compares layers 1, 3, 5 of" in said
    assert "hidden holds 5. Give a map of these" in said
    assert "holds hidden states and no soft labels. Type --alpha 0" in refused("hidden", feature_weight=1.0)
    assert not (tmp_path / "bad").exists()
    assert "a cached teacher has no attention maps" in refused("soft", attention_weight=1.0)
    with pytest.raises(UsageError, match="--num-kept 9: --kind hidden keeps no ids"):
        cache_states(place, tmp_path / "x", student, kind="hidden", num_kept=9)
    with pytest.raises(UsageError, match="the teacher's layers are 0 to 5, not 6"):
        cache_states(place, tmp_path / "x", student, layer_map="0:6")


# ---- resuming


SCRIPT = """
import sys
from pathlib import Path
from distill_eval.distill import run as stage
from test_distill import config
place, output = Path(sys.argv[1]), Path(sys.argv[2])
training = {"steps": 12, "eval_every": 2, "save_every": 2}
stage.run(config(place, output, resume=True, training=training), argv=[], say=print)
"""


def start(place, output):
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here}:{here}/..:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(place), str(output)], env=env, stdout=-1, stderr=-2, text=True
    )


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(place, tmp_path):
    whole = start(place, tmp_path / "whole")
    assert whole.wait() == 0, whole.stdout.read()
    for kill_at in (4, 8):
        process = start(place, tmp_path / "cut")
        while process.poll() is None and not (tmp_path / "cut" / f"checkpoint-{kill_at}").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)  # perhaps in the middle of this very checkpoint
        process.wait()
    last = start(place, tmp_path / "cut")
    assert last.wait() == 0, last.stdout.read()
    assert "going on from checkpoint-" in last.stdout.read()
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_a_half_written_checkpoint_never_counts(tmp_path):
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * 10)
        checkpoints.seal(folder)
    (tmp_path / "checkpoint-4" / "model.safetensors").write_bytes(b"x" * 3)
    (tmp_path / "checkpoint-6").mkdir()
    assert checkpoints.last_whole(tmp_path) == tmp_path / "checkpoint-2"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


@pytest.fixture(params=["full file system", "limit on file sizes"])
def small_disk(request, tmp_path):
    """A folder where one more checkpoint does not fit once `fill` was called, and a way to make room again."""
    if request.param == "limit on file sizes":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE)
        yield tmp_path, partial(limit, (100_000, before[1])), partial(limit, before)
        limit(before)
        return
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        ballast = disk / "ballast"

        def fill():
            room = shutil.disk_usage(disk).free
            ballast.write_bytes(b"x" * (room - 100_000))

        yield disk, fill, ballast.unlink
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_never_replaces_a_good_checkpoint(place, tmp_path, small_disk):
    disk, fill, make_room = small_disk
    training = {"steps": 6, "eval_every": 2, "save_every": 2, "keep_checkpoints": 1}

    def say(line):
        if line.startswith("step 4"):
            fill()

    settings = config(place, disk / "out", training=training)
    with pytest.raises(StoreError, match=r"checkpoint-4. Free space, then add --resume"):
        stage.run(settings, argv=[], say=say)
    assert [path.name for path in (disk / "out").glob("checkpoint-*")] == ["checkpoint-2"]
    assert checkpoints.is_whole(disk / "out" / "checkpoint-2")
    make_room()
    said = []
    stage.run(replace(settings, resume=True), argv=[], say=said.append)
    assert "going on from checkpoint-2" in said
    train(place, tmp_path / "whole", training=training)
    assert same(weights(disk / "out"), weights(tmp_path / "whole"))


# ---- what goes wrong while it trains


def test_batches_without_a_finite_gradient_are_left_out_and_counted(place, tmp_path, monkeypatch):
    from distill_eval.distill.lesson import Lesson

    own, seen = Lesson.__call__, []

    def sometimes(self, model, batch, **options):
        found = own(self, model, batch, **options)
        seen.append(1)
        return found._replace(loss=found.loss * float("nan")) if len(seen) in (2, 5) else found

    monkeypatch.setattr(Lesson, "__call__", sometimes)
    done = train(place, tmp_path / "out")
    assert done.num_skipped_batches == 2
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "out").values())
    [first, _] = sorted((tmp_path / "out").glob("skipped-step-*.safetensors"))
    assert load_file(first)["0.input_ids"].shape[0] == 2


def test_too_many_bad_batches_stop_the_run(place, tmp_path, monkeypatch):
    from distill_eval.distill.lesson import Lesson

    own = Lesson.__call__
    monkeypatch.setattr(
        Lesson, "__call__", lambda *a, **k: (lambda f: f._replace(loss=f.loss * float("inf")))(own(*a, **k))
    )
    with pytest.raises(DistillEvalError, match="3 batches had a loss or gradient that is not a number"):
        train(place, tmp_path / "out", training={"max_skipped": 2})


@pytest.mark.parametrize("loss", [{}, {"attention_weight": 1.0, "feature_weight": 1.0}])
def test_out_of_memory_halves_the_batch_and_takes_the_same_steps(place, tmp_path, monkeypatch, loss):
    from distill_eval.distill.lesson import Lesson

    expected = train(place, tmp_path / "whole", training={"batch_size": 4}, loss=loss)
    own, told, first = Lesson.__call__, [], []

    def small(self, model, batch, **options):
        if len(batch["input_ids"]) > 2:
            first.append(weakref.ref(model))
            raise torch.OutOfMemoryError("no room")
        assert [ref() for ref in first] == [None]  # the first student makes room for the second
        return own(self, model, batch, **options)

    monkeypatch.setattr(Lesson, "__call__", small)
    options = config(place, tmp_path / "small", training={"batch_size": 4}, loss=loss)
    found = stage.run(options, argv=[], say=told.append)
    assert any("--batch-size 2 --accumulate 2" in line for line in told)
    for a, b in zip(_losses(expected), _losses(found), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


# ---- bad input


def test_bad_input_is_refused_before_any_work(place, tmp_path):
    def refused(error=UsageError, output=tmp_path / "bad", **options):
        with pytest.raises(error) as caught:
            train(place, output, **options)
        return str(caught.value)

    save("gpt2", tmp_path / "other", seed=2)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["bone"])
    tokenizer.save_pretrained(tmp_path / "other")
    assert "different tokenizers" in refused(teacher=(str(tmp_path / "other"),))
    assert "the student's own folder" in refused(teacher=(str(place / "student"),))
    assert "--alpha 1.5" in refused(loss={"alpha": 1.5})
    assert "--temperature 0" in refused(loss={"temperature": 0.0})
    assert "less than one batch" in refused(training={"batch_size": 500})
    assert "--layer-map" in refused(loss={"feature_weight": 1.0, "layer_map": "9:0"})
    assert "--report-to trackio: it is not installed" in refused(training={"report_to": "trackio"})
    assert f"{place / 'text.jsonl'} cannot be written in" in refused(output=place / "text.jsonl" / "bad")
    assert not (tmp_path / "bad").exists()


def test_a_larger_student_is_refused(place, tmp_path):
    model = make_model("llama", seed=0)
    model.model.layers = model.model.layers[:1]
    model.config.num_hidden_layers = 1
    model.save_pretrained(tmp_path / "small")
    make_tokenizer().save_pretrained(tmp_path / "small")
    with pytest.raises(UsageError, match="more than the"):
        train(place, tmp_path / "bad", teacher=(str(tmp_path / "small"),))


def test_an_output_folder_in_use_is_refused(place, tmp_path):
    train(place, tmp_path / "done", training={"steps": 2})
    with pytest.raises(UsageError, match="finished run"):
        train(place, tmp_path / "done", training={"steps": 2})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        train(place, tmp_path / "mine")


def test_a_resume_with_other_options_shows_them(place, tmp_path):
    output = tmp_path / "out"
    train(place, output, training={"steps": 2})
    (output / "distill.json").unlink()
    with pytest.raises(UsageError, match="add --resume"):
        train(place, output, training={"steps": 2})
    with pytest.raises(UsageError, match=r"--temperature was 2\.0 and is 3\.0"):
        train(place, output, training={"steps": 2}, loss={"temperature": 3.0}, resume=True)


def test_weights_are_written_in_the_dtype_they_came_in(place, tmp_path):
    model = make_model("llama", seed=1).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    make_tokenizer().save_pretrained(tmp_path / "half")
    train(place, tmp_path / "out", student=str(tmp_path / "half"), training={"steps": 2})
    assert {tensor.dtype for tensor in weights(tmp_path / "out").values()} == {torch.bfloat16}


@pytest.mark.parametrize(("batch", "halved"), [((4, 1), (2, 2)), ((3, 1), (1, 3)), ((6, 2), (3, 4)), ((9, 1), (3, 3))])
def test_a_smaller_batch_keeps_the_rows_of_a_step(batch, halved):
    assert Batching(*batch).halved() == halved
