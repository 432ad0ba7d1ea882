"""`distill --on-policy` on tiny models: the student learns from its own text, exactly and to the bit after a kill."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from fakes.tiny_families import make_tokenizer, save
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from distill_eval.distill import data
from distill_eval.distill import run as stage
from distill_eval.distill.config import DistillConfig, LossConfig, TrainingConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.lesson import TextLesson
from distill_eval.distill.on_policy_config import OnPolicyConfig
from distill_eval.distill.own_text import OwnText
from distill_eval.errors import UsageError

WORDS = ["bone", "heart", "liver", "first", "second", "who", "where", "answer", "long", "way"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, a student and a text."""
    root = tmp_path_factory.mktemp("on-policy")
    save("llama", root / "teacher", seed=0)
    save("llama", root / "student", seed=1)
    draw = random.Random(0)
    lines = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(4, 20))) for _ in range(60)]
    (root / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return root


def config(place, output, *, on_policy=0.5, loss=None, training=None, data=None, own=None, **options):
    data = {"data": str(place / "text.jsonl"), "max_length": 32, "validation_documents": 4} | (data or {})
    training = {"steps": 8, "batch_size": 2, "learning_rate": 3e-3, "device": "cpu", "eval_every": 4} | (training or {})
    own = {"on_policy": on_policy, "prompt_length": 8, "max_new_tokens": 10} | (own or {})
    options = {"student": str(place / "student"), "teacher": (str(place / "teacher"),)} | options
    return DistillConfig(
        data=DataConfig(**data),
        loss=LossConfig(**(loss or {})),
        training=TrainingConfig(**training),
        own_text=OnPolicyConfig(**own),
        output_dir=output,
        **options,
    )


def train(place, output, **options):
    return stage.run(config(place, output, **options), argv=["distill"], say=lambda line: None)


def logged(done, name):
    return [point.values[name] for point in done.curve if name in point.values]


def same(a, b):
    a, b = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return all(torch.equal(a[name], b[name]) for name in a)


def plain_kl(student, teacher, ids, labels):
    """Mean KL(teacher || student) over the scored tokens, one row at a time."""
    total = 0.0
    with torch.no_grad():
        for row, scored in zip(ids, labels != -100, strict=True):
            ours, theirs = (model(row[None]).logits[0][scored].log_softmax(-1) for model in (student, teacher))
            total += F.kl_div(ours, theirs, reduction="sum", log_target=True)
    return float(total / (labels != -100).sum())


def test_the_student_comes_nearer_to_its_teacher_on_its_own_text(place, tmp_path):
    done = train(place, tmp_path / "out", on_policy=1.0, training={"steps": 40, "batch_size": 4, "eval_every": 20})
    losses = logged(done, "on_policy_loss")
    assert losses[-1] < 0.8 * losses[0]
    assert set(logged(done, "on_policy_share")) == {1.0}
    assert not logged(done, "soft_loss")
    assert not logged(done, "hard_loss")
    assert all(1 <= length <= 10 for length in logged(done, "on_policy_length"))
    assert json.loads((tmp_path / "out" / "distill.json").read_text())["settings"]["--on-policy"] == "1.0"

    teacher = AutoModelForCausalLM.from_pretrained(place / "teacher").eval()
    found = []
    for folder in (place / "student", tmp_path / "out"):
        student = AutoModelForCausalLM.from_pretrained(folder).eval()
        prompts = torch.randint(97, 123, (16, 4), generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        ids = student.generate(prompts, do_sample=True, top_k=0, min_new_tokens=10, max_new_tokens=10, eos_token_id=257)
        labels = torch.full_like(ids, -100)
        labels[:, 3:-1] = ids[:, 4:]
        found.append(plain_kl(student, teacher, ids, labels))
    assert found[1] < 0.8 * found[0]


def test_a_step_is_the_plain_divergence_on_the_sampled_tokens_alone(place, tmp_path):
    """One batch holds all rows, so that their order says nothing."""
    short = {"data": str(tmp_path / "few.jsonl"), "packing": "none", "validation_documents": 1}
    lines = (place / "text.jsonl").read_text().splitlines()[:6]
    (tmp_path / "few.jsonl").write_text("\n".join(lines) + "\n")
    options = {"data": short, "loss": {"temperature": 3.0, "alpha": 0.6, "loss": "reverse_kl"}, "on_policy": 1.0}
    texts = data.load(config(place, tmp_path, **options).data, make_tokenizer(), seed=1234, batch_blocks=1)
    batch_size = len(texts.train)
    done = train(
        place,
        tmp_path / "out",
        training={"steps": 1, "batch_size": batch_size, "eval_every": 1},
        **options,
    )
    student, teacher = (AutoModelForCausalLM.from_pretrained(place / name).eval() for name in ("student", "teacher"))
    lesson = TextLesson(student, None, divergence="forward_kl", temperature=1.0, beta=0.5)
    own = OwnText(
        lesson, config(place, tmp_path, **options).own_text, seed=1234, max_length=32, pad_id=257, end_ids=[257]
    )
    made = own.write(texts.collate([texts.train[n] for n in range(batch_size)]), 0)
    lesson.detach()
    total, count = 0.0, 0
    for ids, labels in zip(made.batch["input_ids"], made.batch["shift_labels"], strict=True):
        with torch.no_grad():
            ours, theirs = (model(ids[None]).logits[0][labels != -100] / 3.0 for model in (student, teacher))
        total += F.kl_div(theirs.log_softmax(-1), ours.log_softmax(-1), reduction="sum", log_target=True)
        count += int((labels != -100).sum())
    assert logged(done, "on_policy_loss") == pytest.approx([float(total) / count], rel=1e-5)
    assert logged(done, "loss") == pytest.approx([9.0 * float(total) / count], rel=1e-5)
    assert logged(done, "on_policy_length") == pytest.approx([count / batch_size], rel=1e-6)


def test_the_parts_of_a_mixed_run_are_told_apart_and_accumulation_changes_no_step(place, tmp_path):
    steps = {"steps": 12, "eval_every": 12, "batch_size": 4}
    whole = train(place, tmp_path / "whole", training=steps)
    parts = train(place, tmp_path / "parts", training=steps | {"batch_size": 1, "accumulate": 4})
    assert 0 < logged(whole, "on_policy_share")[0] < 1
    for name in ("loss", "on_policy_loss", "soft_loss", "hard_loss", "on_policy_share", "on_policy_length"):
        assert logged(whole, name), name
        assert logged(parts, name) == pytest.approx(logged(whole, name), rel=1e-4), name


def test_a_baseline_and_the_last_hard_steps_keep_to_the_text(place, tmp_path):
    plain = train(place, tmp_path / "plain", on_policy=0.0, baseline=True, training={"steps": 4})
    train(place, tmp_path / "baseline", on_policy=1.0, baseline=True, training={"steps": 4})
    assert same(tmp_path / "plain", tmp_path / "baseline")
    assert not logged(plain, "on_policy_share")
    last = train(
        place, tmp_path / "last", on_policy=1.0, loss={"hard_last": 0.5}, training={"steps": 8, "eval_every": 4}
    )
    assert [logged(last, "on_policy_share")[n] for n in (0, -1)] == [1.0, 0.0]
    assert logged(last, "hard_loss")


def test_hidden_states_and_attention_are_compared_on_own_text_too(place, tmp_path):
    loss = {"feature_weight": 0.5, "attention_weight": 0.5, "layer_map": "last"}
    done = train(
        place, tmp_path / "out", on_policy=1.0, loss=loss, training={"steps": 12, "gradient_checkpointing": True}
    )
    for name in ("on_policy_loss", "feature_loss", "attention_loss"):
        assert logged(done, name)[-1] < logged(done, name)[0], name


SCRIPT = """
import sys
from pathlib import Path
from distill_eval.distill import run as stage
from test_on_policy import RESUMED, config
stage.run(config(Path(sys.argv[1]), Path(sys.argv[2]), training=RESUMED), argv=[], say=print)
"""
RESUMED = {"steps": 12, "eval_every": 6, "save_every": 3}


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(place, tmp_path):
    here = Path(__file__).parent
    env = {**os.environ, "PYTHONPATH": f"{here}:{here}/..:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(place), str(tmp_path / "cut")]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "cut" / "checkpoint-6").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "distill.json").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        told = []
        cut = stage.run(config(place, tmp_path / "cut", resume=True, training=RESUMED), argv=[], say=told.append)
        whole = train(place, tmp_path / "whole", training=RESUMED)
    finally:
        torch.set_num_threads(threads)
    assert any("going on from checkpoint-" in line for line in told)
    assert same(tmp_path / "cut", tmp_path / "whole")
    assert logged(cut, "loss")[-1] == logged(whole, "loss")[-1]


def test_what_does_not_go_together_is_refused(place, tmp_path):
    def refused(**options):
        with pytest.raises(UsageError) as caught:
            config(place, tmp_path / "bad", **options)
        return str(caught.value)

    assert "knows its fixed rows alone" in refused(teacher=(), cached_teacher=tmp_path)
    assert "Give --teacher" in refused(loss={"alpha": 0.0})
    assert "--max-new-tokens 32" in refused(own={"max_new_tokens": 32})
