"""`distill` with labels on tiny encoders: it learns, it resumes to the bit, and it says what does not fit together."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import tiny_families
from fakes.tiny_classifiers import NAMES, bert, distilbert, make_rows, save, write_rows
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from distill_eval.cli import main
from distill_eval.distill import run as stage
from distill_eval.distill.config import DistillConfig, LossConfig, TrainingConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.label_config import LabelConfig
from distill_eval.errors import DataError, UsageError
from distill_eval.recipe import shipped
from distill_eval.record import from_json
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.report import Report
from distill_eval.student import prepare
from distill_eval.student.config import PrepareConfig

CHANCE = 1 / 3


def config(place, output, *, loss=None, training=None, data=None, labels=None, **options):
    data = {"data": str(place / "texts.jsonl"), "validation_documents": 60} | (data or {})
    training = {"steps": 10, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu", "eval_every": 5} | (
        training or {}
    )
    options = {"student": str(place / "small"), "teacher": (str(place / "teacher"),)} | options
    return DistillConfig(
        data=DataConfig(**data),
        labels=LabelConfig(**{"label_column": "label", "measure_speed": False} | (labels or {})),
        loss=LossConfig(**(loss or {})),
        training=TrainingConfig(**training),
        output_dir=output,
        **options,
    )


def train(place, output, **options):
    return stage.run(config(place, output, **options), argv=["distill"], say=lambda line: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Texts, encoders, a teacher that was fine-tuned by the stage itself, and a student prepared from it."""
    root = tmp_path_factory.mktemp("classifier")
    write_rows(root / "texts.jsonl", make_rows(400))
    write_rows(root / "test.jsonl", make_rows(200, seed=1))
    save(root / "encoder", bert(4), seed=0)
    train(
        root,
        root / "teacher",
        student=str(root / "encoder"),
        teacher=(),
        loss={"alpha": 0.0},
        training={"steps": 100, "eval_every": 50, "learning_rate": 3e-3},
    )
    small = PrepareConfig(teacher=str(root / "teacher"), keep_layers="0,3", output_dir=root / "small")
    prepare.run(small, argv=["prepare"])
    return root


def wilson(share, num):
    """Wilson's interval for a share (1927, J. Am. Stat. Assoc. 22:209-212)."""
    z = 1.959963984540054
    half = z * math.sqrt(share * (1 - share) / num + z**2 / (4 * num**2))
    return [(share + z**2 / (2 * num) + side * half) / (1 + z**2 / num) for side in (-1, 1)]


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_an_encoder_becomes_a_classifier_with_the_names_of_its_labels(place):
    done = json.loads((place / "teacher" / "distill.json").read_text())
    assert done["teachers"] == []
    assert done["after"]["accuracy"] > 0.9
    assert done["classification"]["teachers"] == []
    model = AutoModelForSequenceClassification.from_pretrained(place / "teacher")
    assert model.config.id2label == dict(enumerate(sorted(NAMES)))
    tokenizer = AutoTokenizer.from_pretrained(place / "teacher")
    answers = [
        model.config.id2label[int(model(**tokenizer(text, return_tensors="pt")).logits.argmax())]
        for text in ("the cat and a dog", "one of two", "red is blue")
    ]
    assert answers == ["animal", "number", "color"]


def test_a_student_learns_from_its_teacher_far_above_chance(place, tmp_path):
    # A student that was never trained: what it can afterwards, it has from its teacher's soft labels alone.
    save(tmp_path / "raw", bert(2), seed=5)
    options = {"student": str(tmp_path / "raw"), "loss": {"alpha": 1.0}, "training": {"steps": 100, "eval_every": 50}}
    done = train(place, tmp_path / "out", labels={"test_data": str(place / "test.jsonl")}, **options)
    assert done.after.kl < 0.2 * done.before.kl
    found = done.classification
    assert found.student.num_texts == 200
    assert found.student.accuracy > CHANCE + 0.5
    low, high = wilson(found.student.accuracy, 200)
    assert found.student.accuracy_ci_low == pytest.approx(low)
    assert found.student.accuracy_ci_high == pytest.approx(high)
    assert not found.is_validation
    assert found.labels == tuple(sorted(NAMES))
    assert sum(found.num_labeled) == done.data.num_documents
    [teacher] = found.teachers
    assert teacher.num_parameters > found.student.num_parameters
    assert teacher.size_bytes > found.student.size_bytes
    paired = teacher.paired
    difference = (paired.num_only_student - paired.num_only_teacher) / paired.num_pairs
    assert found.student.accuracy - teacher.accuracy == pytest.approx(difference)


def test_the_written_student_gives_the_figures_that_are_reported(place, tmp_path):
    done = train(place, tmp_path / "out", labels={"test_data": str(place / "test.jsonl")})
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    rows = [json.loads(line) for line in (place / "test.jsonl").read_text().splitlines()]
    right = 0
    for row in rows:
        encoded = tokenizer(row["text"], truncation=True, max_length=40, return_tensors="pt")
        right += model.config.id2label[int(model(**encoded).logits.argmax())] == row["label"]
    assert done.classification.student.accuracy == right / len(rows)
    assert done.classification.student.num_parameters == model.num_parameters() == done.num_parameters


def test_latency_and_memory_come_from_processes_of_their_own(place, tmp_path):
    done = train(place, tmp_path / "out", training={"steps": 2}, labels={"measure_speed": True})
    for figures in (done.classification.student, *done.classification.teachers):
        assert figures.unmeasured is None
        assert figures.num_requests == done.data.num_validation_blocks
        assert 0 < figures.latency_p50_ms <= figures.latency_p95_ms
        assert 50e6 < figures.resident_before_bytes < figures.resident_bytes
        assert figures.num_threads >= 1


def test_teacher_and_student_may_number_their_labels_differently(place, tmp_path):
    other = ("Number", "Animal", "Color")
    save(tmp_path / "raw", bert(2), labels=other, seed=5)
    options = {"student": str(tmp_path / "raw"), "loss": {"alpha": 1.0}, "training": {"steps": 100, "eval_every": 50}}
    done = train(place, tmp_path / "out", **options)
    assert done.classification.labels == other
    assert done.after.accuracy > CHANCE + 0.5
    assert done.teacher_validation.accuracy > 0.9


def test_divergences_inner_terms_and_other_families_train(place, tmp_path):
    save(tmp_path / "distilbert", distilbert(2), seed=3)
    raw = str(tmp_path / "distilbert")
    for number, (student, loss) in enumerate(
        [
            (raw, {"loss": "reverse_kl"}),
            (raw, {"loss": "jsd", "beta": 0.3}),
            (raw, {"loss": "tv", "alpha": 1.0}),
            (str(place / "small"), {"feature_weight": 0.5}),
            (raw, {"attention_weight": 1.0}),
            (raw, {"attention_weight": 1.0, "attention_loss": "value_relation"}),
        ]
    ):
        done = train(place, tmp_path / str(number), student=student, loss=loss, training={"steps": 15, "eval_every": 5})
        assert done.after.kl < done.before.kl, loss
        curve = [point.values for point in done.curve]
        for name in ("feature_loss", "attention_loss"):
            seen = [values[name] for values in curve if name in values]
            assert bool(seen) == (name.replace("_loss", "_weight") in loss)
            assert not seen or seen[-1] < seen[0]


def test_accumulation_takes_the_same_steps(place, tmp_path):
    options = {"loss": {"feature_weight": 0.5}, "student": str(tmp_path / "still")}
    still = bert(2)
    still.hidden_dropout_prob = still.attention_probs_dropout_prob = 0.0
    save(tmp_path / "still", still, seed=5)
    whole = train(place, tmp_path / "whole", training={"batch_size": 8}, **options)
    parts = train(place, tmp_path / "parts", training={"batch_size": 2, "accumulate": 4}, **options)
    for name in ("loss", "feature_loss"):
        curves = [[point.values[name] for point in done.curve if name in point.values] for done in (whole, parts)]
        assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def test_bfloat16_trains_as_float32_does_to_its_precision(place, tmp_path):
    steps = {"steps": 4, "eval_every": 1}
    wide = train(place, tmp_path / "wide", training=steps)
    narrow = train(place, tmp_path / "narrow", training=steps | {"dtype": "bfloat16"})
    for ours, theirs in zip(narrow.curve, wide.curve, strict=True):
        for name in ours.values.keys() & {"soft_loss", "hard_loss", "eval_loss"}:
            assert ours.values[name] == pytest.approx(theirs.values[name], rel=5e-2), name
    assert narrow.curve != wide.curve  # it did compute in another precision


def test_a_baseline_sees_the_same_texts_and_no_teacher(place, tmp_path):
    baseline = train(place, tmp_path / "baseline", baseline=True)
    plain = train(place, tmp_path / "plain", teacher=(), loss={"alpha": 0.0})
    taught = train(place, tmp_path / "taught")
    assert taught.data == baseline.data == plain.data
    assert same(weights(tmp_path / "baseline"), weights(tmp_path / "plain"))
    assert not same(weights(tmp_path / "baseline"), weights(tmp_path / "taught"))
    assert baseline.after.kl is not None
    assert plain.after.kl is None


# ---- resuming


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bits(place, tmp_path):
    # From an encoder, so that its new head has to be the same too. What a kill leaves of a checkpoint: test_distill.
    options = {"student": str(place / "encoder"), "training": {"steps": 12, "eval_every": 2, "save_every": 2}}
    train(place, tmp_path / "whole", **options)

    def interrupt(line):
        if line.startswith("step 8 of 12"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(config(place, tmp_path / "cut", **options), argv=[], say=interrupt)
    assert not (tmp_path / "cut" / "distill.json").exists()
    told = []
    stage.run(config(place, tmp_path / "cut", resume=True, **options), argv=[], say=told.append)
    assert "going on from checkpoint-6" in told
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


# ---- data


def test_rows_without_text_or_label_are_left_out_and_counted(place, tmp_path):
    rows = make_rows(120)
    rows[3]["text"], rows[4]["text"], rows[5]["label"] = "", "  ", None
    rows[7]["text"] = "cat " * 60
    write_rows(tmp_path / "texts.jsonl", rows)
    told = []
    options = config(place, tmp_path / "out", data={"data": str(tmp_path / "texts.jsonl"), "validation_documents": 20})
    done = stage.run(options, argv=[], say=told.append)
    assert done.data.num_unscored_documents == 3
    assert done.data.num_documents + done.data.num_validation_blocks == 117
    assert done.data.max_length == 40  # what the models have positions for
    assert any("2 without text, 1 without a label" in line for line in told)
    assert any("1 texts are longer than 40 tokens" in line for line in told)


def test_csv_with_integers_is_read_as_label_numbers(place, tmp_path):
    numbers = {name: number for number, name in enumerate(sorted(NAMES))}
    lines = [f"{row['text']},{numbers[row['label']]}" for row in make_rows(150)]
    (tmp_path / "texts.csv").write_text("sentence,y\n" + "\n".join(lines) + "\n,1\none two,\n")
    done = train(
        place,
        tmp_path / "out",
        data={"data": str(tmp_path / "texts.csv"), "text_column": "sentence", "validation_documents": 30},
        labels={"label_column": "y"},
    )
    assert done.classification.labels == tuple(sorted(NAMES))
    assert done.teacher_validation.accuracy > 0.9
    assert done.data.num_unscored_documents == 2


# ---- bad input


def test_bad_input_is_refused_before_any_work(place, tmp_path):
    def refused(error=UsageError, rows=None, **options):
        if rows is not None:
            write_rows(tmp_path / "bad.jsonl", rows)
            options["data"] = {"data": str(tmp_path / "bad.jsonl"), "validation_documents": 10} | options.get(
                "data", {}
            )
        with pytest.raises(error) as caught:
            train(place, tmp_path / "bad", **options)
        assert not (tmp_path / "bad").exists()
        return str(caught.value)

    rows = make_rows(60)
    assert "has no column 'lable'. Did you mean 'label'?" in refused(labels={"label_column": "lable"})
    assert "is the text's column too" in refused(labels={"label_column": "text"})
    assert "every text has the label 'x'" in refused(rows=[row | {"label": "x"} for row in rows])
    said = refused(DataError, rows=[row | {"label": None} for row in rows])
    assert "every value of its column 'label' is missing" in said
    assert "60 different labels" in refused(rows=[row | {"label": f"n{n}"} for n, row in enumerate(rows)])
    assert "expected one label per text" in refused(rows=[row | {"label": 0.5} for row in rows])
    assert "holds a int, expected text" in refused(rows=[row | {"text": 7} for row in rows])
    assert "every value of its text column is empty" in refused(DataError, rows=[row | {"text": ""} for row in rows])
    said = refused(rows=[*rows, *({"text": f"a {n}", "label": "shape"} for n in range(20))])
    assert "it does not know 'shape'" in said
    assert "'animal', 'color', 'number'" in said

    save(tmp_path / "other", bert(2), labels=("up", "down", "left"))
    assert "up" in refused(student=str(tmp_path / "other"))
    assert "an encoder without a classification head" in refused(teacher=(str(place / "encoder"),))
    tiny_families.save("llama", tmp_path / "llama")
    assert "is a LlamaForCausalLM, which has no labels" in refused(student=str(tmp_path / "llama"))
    assert "--label-column label" in refused(labels={"label_column": None, "measure_speed": True})
    assert "only classifiers are tested" in refused(labels={"label_column": None, "test_split": "test"})
    assert "less than one batch" in refused(training={"batch_size": 1000})
    assert "--streaming" in refused(data={"streaming": True})
    assert "--packing crossing" in refused(data={"packing": "crossing"})
    save(tmp_path / "large", bert(8), labels=tuple(sorted(NAMES)))
    assert "more than the" in refused(student=str(tmp_path / "large"))
    test = write_rows(tmp_path / "strange.jsonl", [{"text": "x", "label": "shape"}])
    assert "which no training text has" in refused(labels={"test_data": str(test)})


def test_a_resume_with_other_labels_shows_them(place, tmp_path):
    train(place, tmp_path / "out", training={"steps": 2})
    (tmp_path / "out" / "distill.json").unlink()
    same_run = config(place, tmp_path / "out", training={"steps": 2}, resume=True)
    with pytest.raises(UsageError, match="--label-column was label and is kind"):
        stage.run(replace(same_run, labels=replace(same_run.labels, label_column="kind")), argv=[], say=print)


def test_the_shipped_recipe_makes_teaches_and_measures_a_classifier(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = shipped()["classifier"].replace('label_column = "label"', 'label_column = "label"\nmeasure_speed = false')
    Path("mine.toml").write_text(text)
    command = ["run", "mine.toml", "--teacher", str(place / "teacher"), "--data", str(place / "texts.jsonl")]
    assert main([*command, "--output-dir", "out"]) == 0
    found = {
        name: from_json(DistillRun, Path("out", name, "distill.json").read_bytes(), source=name)
        for name in ("student", "baseline")
    }
    assert AutoConfig.from_pretrained("out/student").num_hidden_layers == 2
    assert [run.baseline for run in found.values()] == [False, True]
    assert all(run.after.accuracy > CHANCE + 0.3 for run in found.values())
    report = from_json(Report, Path("out", "report", "report.json").read_bytes(), source="report")
    rows = {row.name: row for row in report.variants}
    assert {name: row.role for name, row in rows.items()} == {
        "teacher": "teacher", "student": "student", "baseline": "baseline",
    }  # fmt: skip
    measured = found["student"].classification
    right = [measured.student.accuracy, measured.teachers[0].accuracy]
    assert rows["student"].retention.value == pytest.approx(right[0] / right[1])
    assert rows["student"].retention.ci_low < rows["student"].retention.value < rows["student"].retention.ci_high
    assert rows["teacher"].num_parameters == measured.teachers[0].num_parameters
    assert "--no-measure-speed" in rows["student"].reasons["speeds"]
    assert "validation texts" in next(one.text for one in report.findings if one.subject == "accuracy")
    assert "latency" not in Path("out", "report", "report.html").read_text()  # nobody timed it
    capsys.readouterr()
    assert main([*command, "--output-dir", "out"]) == 0
    assert capsys.readouterr().out.count("done before, skipped") == 4


def test_a_sweep_measures_each_trials_own_student(place, tmp_path):
    command = ["sweep", "--student", str(place / "small"), "--teacher", str(place / "teacher"), "--steps=4"]
    command += [
        "--data",
        str(place / "texts.jsonl"),
        "--label-column=label",
        "--validation-documents=60",
        "--device=cpu",
    ]
    command += [
        "--batch-size=8",
        "--no-measure-speed",
        "--learning-rates=1e-3,1e20",
        "--eval-every=1",
        "--max-skipped=9",
    ]
    assert main([*command, "--output-dir", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())["trials"]
    assert [trial["state"] for trial in found] == ["finished", "failed"]
    assert "not a number" in found[1]["reason"] or "validation loss" in found[1]["reason"]
    done = from_json(DistillRun, (tmp_path / "out" / found[0]["folder"] / "distill.json").read_bytes(), source="trial")
    assert done.classification.student.model.endswith(found[0]["folder"])
