"""Cards of the variants in reports/: what the artifacts say of their making is found, step by step."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.subjects import MADE
from huggingface_hub import ModelCard

from distill_eval.errors import ModelError, UsageError
from distill_eval.pipeline import cards
from distill_eval.pipeline.gathered import gather
from distill_eval.pipeline.publish import chosen_variant
from distill_eval.publish_config import PublishConfig
from distill_eval.report import card
from distill_eval.schema.model import ModelRef

REPORTS = Path(__file__).resolve().parents[3] / "reports"
TEACHER = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def variants():
    return gather([REPORTS / "2026-11-26-smollm2-variants"], provenance=MADE)


@pytest.fixture(scope="module")
def trained():
    return gather([REPORTS / "2026-11-26-smollm2-distilled" / "layers-22"], provenance=MADE)


def no_card(ref):
    return None


def named(found, name):
    return next(one for one in found.report.variants if one.name == name)


def metadata(found, name, **options):
    options = {"license_id": "apache-2.0", "repository": None, "find_card": no_card} | options
    one = cards.subject(found, named(found, name), **options)
    return ModelCard(card.render(one)).data.to_dict()


@pytest.mark.parametrize(
    ("name", "relation", "tags", "library"),
    [
        ("w8a8", "quantized", ["distill-eval", "compressed-tensors", "w8a8"], "transformers"),
        ("nf4", "quantized", ["distill-eval", "bitsandbytes", "nf4"], "transformers"),
        ("onnx-fp32", None, ["distill-eval", "onnx", "fp32"], "onnxruntime"),
        ("onnx-int4", "quantized", ["distill-eval", "onnx", "int4"], "onnxruntime"),
    ],
)
def test_variants_of_a_model_on_the_hub(variants, name, relation, tags, library):
    found = metadata(variants, name)
    assert found["base_model"] == TEACHER
    assert found.get("base_model_relation") == relation
    assert (found["tags"], found["library_name"], found["pipeline_tag"]) == (tags, library, "text-generation")
    assert "datasets" not in found
    scores = {
        (one["dataset"]["type"], metric["type"]): metric["value"]
        for one in found["model-index"][0]["results"]
        for metric in one["metrics"]
    }
    entries = {entry.task: entry for entry in variants.entries[name]}
    assert scores["EleutherAI/lambada_openai", "acc"] == pytest.approx(entries["lambada_openai"].student.value)
    assert scores["allenai/sciq", "retention"] == pytest.approx(entries["sciq"].retention.value)


def test_a_student_that_was_cut_and_trained(trained):
    (name,) = (name for name, run in trained.trainings.items() if not run.baseline)
    lineage = cards.lineage(trained, name)
    assert lineage.training.num_steps == 160
    assert len(lineage.init.kept_layers) == 22
    found = metadata(trained, name)
    assert (found["base_model"], found["base_model_relation"]) == (TEACHER, "finetune")
    assert found["datasets"] == ["local/lm_corpus"]
    assert found["tags"] == ["distill-eval", "distillation", "pruned"]
    text = card.render(
        cards.subject(trained, named(trained, name), license_id="mit", repository="me/s", find_card=no_card)
    )
    assert "22 of 30 layers" in text
    assert "for 160 steps" in text
    assert 'AutoModelForCausalLM.from_pretrained("me/s")' in text
    assert "distill-eval prepare --teacher" in text


def test_a_student_of_a_chain_was_cut_in_its_own_link(trained):
    (name,) = (name for name, run in trained.trainings.items() if not run.baseline)
    init = cards.lineage(trained, name).init
    students = {
        "out/1-110M/prepared/student.json": replace(init, student_num_parameters=110),
        "out/2-80M/prepared/student.json": replace(init, student_num_parameters=80),
    }
    run = replace(trained.trainings[name], student=ModelRef.parse("/then/out/2-80M/prepared"))
    chained = trained._replace(students=students, trainings={name: run})
    assert cards.lineage(chained, name).init.student_num_parameters == 80


def test_the_license_is_asked_for_when_no_card_says_it(variants):
    with pytest.raises(UsageError, match=f"under which license {TEACHER} may be used. Type --license"):
        metadata(variants, "w8a8", license_id=None)


def test_the_license_and_languages_of_the_teachers_card(variants, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: apache-2.0\nlanguage: [en]\n---\n")
    found = metadata(variants, "w8a8", license_id=None, find_card=lambda ref: path)
    assert (found["license"], found["language"]) == ("apache-2.0", ["en"])


def test_a_folder_beside_other_outputs_is_no_name_on_the_hub(trained):
    (run,) = (run for run in trained.trainings.values() if not run.baseline)
    (source, *others) = trained.report.sources
    moved = replace(source, command="distill-eval compare --output-dir=local/compared")
    found = trained._replace(report=replace(trained.report, sources=(moved, *others)))
    assert "local/lm_corpus" in cards.hub_names(trained)
    assert "local/lm_corpus" not in cards.hub_names(found)
    assert TEACHER in cards.hub_names(found)
    assert run.student.name not in cards.hub_names(trained)


def test_what_is_uploaded(variants, tmp_path, monkeypatch):
    unscored = variants._replace(retentions={})  # so that an empty folder will do
    config = PublishConfig(push_to_hub="me/s", variant="w8a9")
    with pytest.raises(UsageError, match=r"unknown variant 'w8a9'. Did you mean 'w8a8'"):
        chosen_variant(config, unscored)
    with pytest.raises(UsageError, match="w8a8 is not a folder here"):
        chosen_variant(replace(config, variant="w8a8"), unscored)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w8a8").mkdir()
    assert chosen_variant(replace(config, variant="w8a8"), unscored).name == "w8a8"
    unsure = unscored._replace(report=replace(variants.report, ship=None))
    with pytest.raises(UsageError, match=r"recommends none of w8a8, .*Say which one with --variant NAME"):
        chosen_variant(replace(config, variant=None), unsure)
    recommended = unscored._replace(report=replace(variants.report, ship="w8a8"))
    assert chosen_variant(replace(config, variant=None), recommended).name == "w8a8"
    with pytest.raises(ModelError, match="w8a8"):
        chosen_variant(replace(config, variant="w8a8"), variants)


def test_the_only_variant_is_not_uploaded_unnamed_where_it_does_not_pass(variants):
    teacher, only = variants.report.variants[:2]
    alone = variants._replace(report=replace(variants.report, variants=(teacher, only), ship=None))
    with pytest.raises(UsageError, match=rf"recommends none of {only.name}\. Say which one with --variant NAME"):
        chosen_variant(PublishConfig(push_to_hub="me/s"), alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"license": "mit"}, "--license is for a card"),
        ({"variant": "a"}, "--variant says what to upload"),
        ({"public": True}, "--public is for an upload"),
    ],
)
def test_options_that_nothing_would_read_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        PublishConfig(**options)
