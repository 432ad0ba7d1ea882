"""`distill --loss uld` on tiny models whose tokenizers cut the same text otherwise."""

import json
import math
import random
import shutil
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from fakes.two_tokenizers import byte_level, fallback, save_with, template
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_eval.distill import data, two_tokenizers
from distill_eval.distill import run as stage
from distill_eval.distill.config import DistillConfig, LossConfig, TrainingConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.diagnosis import diagnose
from distill_eval.distill.models import locate
from distill_eval.distill.on_policy_config import OnPolicyConfig
from distill_eval.errors import DataError, UsageError
from distill_eval.schema.distill import Validation
from distill_eval.schema.model import ModelRef

WORDS = ["bone", "heart", "liver", "first", "caf\u00e9", "who", "where", "5 \u20ac", "long", "way"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher and a student with tokenizers of their own, a text, and conversations."""
    root = tmp_path_factory.mktemp("across")
    draw = random.Random(0)
    lines = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(4, 20))) for _ in range(60)]
    save_with(fallback(lines, 320, chat_template=template("<<", ">>")), "llama", root / "teacher", seed=0)
    save_with(byte_level(lines, 300, chat_template=template("[", "]")), "llama", root / "student", seed=1)
    (root / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    chats = [[{"role": "user", "content": line}, {"role": "assistant", "content": line[::-1]}] for line in lines]
    (root / "chat.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return root


def config(place, output, *, loss=None, training=None, data=None, **options):
    data = {"data": str(place / "text.jsonl"), "max_length": 48, "validation_documents": 6} | (data or {})
    training = {"steps": 8, "batch_size": 2, "learning_rate": 3e-3, "device": "cpu", "eval_every": 4} | (training or {})
    loss = {"loss": "uld", "alpha": 0.9, "temperature": 1.0} | (loss or {})
    options = {"student": str(place / "student"), "teacher": (str(place / "teacher"),)} | options
    return DistillConfig(
        data=DataConfig(**data),
        loss=LossConfig(**loss),
        training=TrainingConfig(**training),
        output_dir=output,
        **options,
    )


def train(place, output, say=lambda line: None, **options):
    return stage.run(config(place, output, **options), argv=["distill"], say=say)


def logged(done, name):
    return [point.values[name] for point in done.curve if name in point.values]


def texts_of(place, **options):
    student, teacher = (locate(ModelRef.parse(str(place / name)), role=name) for name in ("student", "teacher"))
    settings = config(place, place, data=options).data
    both = two_tokenizers.between(student, teacher)
    return data.load(settings, student.tokenizer, seed=1234, batch_blocks=1, teacher=both)


def test_the_distance_to_the_teacher_falls(place, tmp_path):
    told = []
    done = train(place, tmp_path / "out", say=told.append, training={"steps": 40, "eval_every": 20})
    assert done.after.uld < 0.8 * done.before.uld
    assert done.after.bits_per_byte < done.before.bits_per_byte
    assert done.after.kl is None
    assert done.after.top1_agreement is None
    assert done.teacher_validation.bits_per_byte > 0
    assert logged(done, "eval_uld")[-1] == pytest.approx(done.after.uld)
    assert logged(done, "soft_loss")[-1] < logged(done, "soft_loss")[0]
    assert all(0.5 < share <= 1 for share in logged(done, "paired_share"))
    assert done.data.paired_share == pytest.approx(logged(done, "paired_share")[-1], abs=0.1)
    read = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert read["settings"]["--loss"] == "uld"
    assert any("teacher: validation bits per byte" in line for line in told)
    assert any("ULD" in line for line in told)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_validation_is_what_each_model_says_of_the_text_alone(place, tmp_path, kind):
    """Recomputed without rows, batches or packing: document by document, from the tokenizers' own decoding."""
    data = {"data": str(place / f"{kind}.jsonl"), "max_length": 90}
    done = train(place, tmp_path / "out", data=data, training={"steps": 1, "batch_size": 1, "learning_rate": 1e-9})
    models = [AutoModelForCausalLM.from_pretrained(place / name).eval() for name in ("student", "teacher")]
    texts = texts_of(place, **data)
    distance, pairs, nats, num_bytes = 0.0, 0, [0.0, 0.0], 0
    for row in (texts.validation[n] for n in range(len(texts.validation))):
        ours, theirs = (
            {name: row[prefix + name] for name in ("input_ids", "position_ids", "shift_labels")}
            for prefix in ("", "teacher_")
        )
        logits = []
        for model, side in zip(models, (ours, theirs), strict=True):
            starts = [*(side["position_ids"] == 0).nonzero()[:, 0].tolist(), len(side["position_ids"])]
            with torch.no_grad():  # each document by itself
                parts = [model(side["input_ids"][None, a:b]).logits[0] for a, b in pairwise(starts)]
            logits.append(torch.cat(parts))
        for position, partner in enumerate(row["partner"].tolist()):
            if partner >= 0:
                p, q = (
                    F.pad(part.softmax(-1), (0, 400 - part.shape[-1]))
                    for part in (logits[0][position], logits[1][partner])
                )
                distance += float((p.sort().values - q.sort().values).abs().sum())
                pairs += 1
        counted = (row["counted"], theirs["shift_labels"] != -100)
        for n, (side, which) in enumerate(zip((ours, theirs), counted, strict=True)):
            nats[n] += float(F.cross_entropy(logits[n][which], side["shift_labels"][which], reduction="sum"))
        num_bytes += int(row["num_bytes"])
    assert done.before.uld == pytest.approx(distance / pairs, rel=1e-4)
    assert done.before.paired_share == pytest.approx(pairs / done.before.num_tokens)
    assert done.before.bits_per_byte == pytest.approx(nats[0] / math.log(2) / num_bytes, rel=1e-4)
    assert done.teacher_validation.bits_per_byte == pytest.approx(nats[1] / math.log(2) / num_bytes, rel=1e-4)


def test_accumulation_packing_and_streaming_train_alike(place, tmp_path):
    slow = {"learning_rate": 1e-5}  # a rank that rounding changes turns a sign: large steps would drift apart
    whole = train(place, tmp_path / "whole", training=slow | {"batch_size": 4})
    parts = train(place, tmp_path / "parts", training=slow | {"batch_size": 1, "accumulate": 4})
    assert logged(parts, "loss") == pytest.approx(logged(whole, "loss"), rel=1e-4)
    for name, options in (("padded", {"packing": "none"}), ("streamed", {"streaming": True})):
        done = train(place, tmp_path / name, data=options, training={"steps": 30, "eval_every": 15})
        assert done.after.uld < done.before.uld, name


def test_a_baseline_sees_the_same_rows(place, tmp_path):
    taught = train(place, tmp_path / "taught")
    baseline = train(place, tmp_path / "baseline", baseline=True)
    assert taught.data == baseline.data
    assert baseline.after.uld is not None
    train(place, tmp_path / "plain", teacher=(), loss={"loss": "forward_kl", "alpha": 0.0})
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("baseline", "plain"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_one_tokenizer_for_both_pairs_every_token(place, tmp_path):
    save_with(AutoTokenizer.from_pretrained(place / "student"), "llama", tmp_path / "sibling", seed=5)
    done = train(place, tmp_path / "out", teacher=(str(tmp_path / "sibling"),), training={"steps": 2, "eval_every": 1})
    assert done.data.paired_share > 0.95  # but for the inside of a character
    assert done.before.paired_share > 0.95


def test_it_stops_by_bits_per_byte_and_a_bad_teacher_is_found_by_them(place, tmp_path):
    near = train(place, tmp_path / "near", training={"steps": 20, "stop_within": 1000.0})
    assert near.num_steps == 4
    assert near.stopped.startswith("validation bits per byte")

    def said(perplexity, bits):
        fields = dict.fromkeys(("kl", "top1_agreement", "teacher_entropy"))
        return Validation(hard_loss=1.0, perplexity=perplexity, num_tokens=10, bits_per_byte=bits, **fields)

    def found(teacher, before):
        texts = [finding.text for finding in diagnose((), before=before, after=before, teacher=teacher)]
        return [text for text in texts if "nothing to teach" in text]

    assert not found(said(50.0, 1.0), said(40.0, 2.0))  # more of its larger tokens, but fewer bits
    assert (
        "bits per byte on the validation text is 2.00, not below the student's 1.00"
        in found(said(40.0, 2.0), said(50.0, 1.0))[0]
    )


def test_what_cannot_be_compared_is_refused_with_the_way_out(place, tmp_path):
    def refused(error=UsageError, **options):
        with pytest.raises(error) as caught:
            train(place, tmp_path / "bad", **options)
        return str(caught.value)

    assert "or train across tokenizers with --loss uld" in refused(loss={"loss": "forward_kl"})
    assert "one live --teacher" in refused(teacher=(str(place / "teacher"),) * 2)
    assert "one live --teacher" in refused(teacher=(), cached_teacher=tmp_path)
    assert "--feature-weight" in refused(loss={"feature_weight": 1.0})
    assert "--packing isolated" in refused(data={"packing": "crossing"})
    assert "leave it or --loss uld out" in refused(own_text=OnPolicyConfig(on_policy=0.5, max_new_tokens=8))
    shutil.copytree(place / "teacher", tmp_path / "short")
    settings = json.loads((tmp_path / "short" / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 16}))
    assert "reads 16 at most. Lower --max-length" in refused(DataError, teacher=(str(tmp_path / "short"),))
