"""A model card that huggingface_hub reads as it was meant, and that says nothing that no artifact says."""

from dataclasses import replace

import pytest
import yaml
from fakes.subjects import STUDENT, TEACHER, entry, estimate, facts, report, retention, student, subject, task
from huggingface_hub import ModelCard, metadata_load, parse_eval_result_entries
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from unit.report import made
from unit.report.read import PARSER

from distill_eval.report import card
from distill_eval.report.card_metadata import base, eval_results, metadata
from distill_eval.report.subject import License, Lineage
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Estimate, Finding

HOSTILE = made.HOSTILE


def trained(**changes):
    run = made.trained(**changes)
    return replace(run, data=replace(run.data, data="org/texts"))


def read(text, tmp_path):
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return metadata_load(tmp_path / "README.md")


def test_metadata_is_read_back_as_it_was_meant(tmp_path):
    lineage = Lineage(training=trained(), init=made.dropped(teacher=ModelRef(name=TEACHER)))
    one = subject(lineage=lineage, hub_names=frozenset({TEACHER, "org/texts", "allenai/ai2_arc"}))
    found = read(card.render(one), tmp_path)
    index = found.pop("model-index")
    assert found == {
        "base_model": TEACHER,
        "base_model_relation": "finetune",
        "datasets": ["org/texts"],
        "language": ["en"],
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["distill-eval", "distillation", "pruned"],
    }
    name, results = model_index_to_eval_results(index)
    assert name == "student"
    assert [(one.metric_type, one.metric_value, one.metric_name) for one in results] == [
        ("acc", 0.54, "arc_easy, 5-shot, acc"),
        ("retention", pytest.approx(0.9), "arc_easy, 5-shot, acc: of the score of teacher"),
    ]
    assert {(one.dataset_type, one.dataset_config, one.dataset_revision) for one in results} == {
        ("allenai/ai2_arc", "ARC-Easy", "ab" * 20)
    }
    assert results[0].metric_args == {"num_documents": 500, "of": 2376}
    assert eval_results_to_model_index(name, results) == index


def test_the_whole_card_goes_through_the_hubs_own_type():
    text = card.render(subject())
    assert ModelCard(text).content == text


def test_what_nobody_says_is_left_out(tmp_path):
    one = subject(
        languages=(),
        retentions=(),
        variant=student(verdict=None, retention=Estimate(value=None), worst_retention=Estimate(value=None)),
        hub_names=frozenset(),
    )
    text = card.render(one)
    assert read(text, tmp_path) == {
        "library_name": "transformers",
        "license": "apache-2.0",
        "tags": ["distill-eval"],
    }
    assert "No comparison has judged it." in text
    assert "retention" not in text
    assert eval_results(one) == {}


def test_a_license_without_a_name_on_the_hub(tmp_path):
    one = subject(license=License("other", "our-terms", "https://example.org/terms"))
    found = read(card.render(one), tmp_path)
    assert (found["license"], found["license_name"], found["license_link"]) == (
        "other",
        "our-terms",
        "https://example.org/terms",
    )


CUT = made.dropped(teacher=ModelRef(name=TEACHER))


@pytest.mark.parametrize(
    ("lineage", "hub", "expected"),
    [
        (Lineage(), {TEACHER}, (None, None)),
        (Lineage(init=CUT), {TEACHER}, (TEACHER, None)),
        (Lineage(training=trained(), init=CUT), {TEACHER}, (TEACHER, "finetune")),
        (Lineage(training=trained(student=ModelRef(name="org/small")), init=CUT), {TEACHER, "org/small"},
         ("org/small", "finetune")),
        (Lineage(training=trained(), init=made.fresh()), {"org/teacher"}, (TEACHER, "finetune")),
        (Lineage(training=trained(), init=replace(made.fresh(), fresh=replace(made.fresh().fresh, init="random",
         num_parameters_from_teacher=0))), {TEACHER}, (None, None)),
        (Lineage(training=trained(), init=CUT), set(), (None, None)),
    ],
    ids=["unknown", "cut", "cut and trained", "trained from the Hub", "new from the teacher", "new", "all local"],
)  # fmt: skip
def test_the_base_model_is_where_the_weights_come_from(lineage, hub, expected):
    assert base(lineage, hub) == expected


def test_hub_results_are_read_by_the_hubs_own_reader():
    files = eval_results(subject())
    assert list(files) == [".eval_results/arc_easy.yaml"]
    (one,) = parse_eval_result_entries(yaml.safe_load(files[".eval_results/arc_easy.yaml"]))
    assert (one.dataset_id, one.task_id, one.value, one.dataset_revision) == (
        "allenai/ai2_arc",
        "ARC-Easy",
        54.0,
        "ab" * 20,
    )
    assert one.notes == "arc_easy, 5-shot, acc, in percent, 500 of 2,376 documents, lm-eval 0.4.13, distill-eval"


def test_hub_results_of_a_loss_a_group_and_a_local_task():
    bits = entry("wikitext", metric="bits_per_byte", unit="bits/byte", higher_is_better=False, score=0.81, chance=None)
    group = entry("mmlu", num_tasks=57)
    local = entry("my/task")
    tasks = (
        task("wikitext", dataset="EleutherAI/wikitext_document_level", dataset_revision=None),
        task("my/task", dataset="json"),
    )
    one = subject(
        retentions=(retention(bits, group, local, tasks=tasks),),
        hub_names=frozenset({"EleutherAI/wikitext_document_level"}),
    )
    files = eval_results(one)
    assert list(files) == [".eval_results/wikitext.yaml"]
    (found,) = yaml.safe_load(files[".eval_results/wikitext.yaml"])
    assert found["dataset"] == {"id": "EleutherAI/wikitext_document_level", "task_id": "default"}
    assert found["value"] == 0.81
    assert "in bits/byte" in found["notes"]
    index = metadata(one).to_dict()["model-index"]
    assert [result["dataset"]["type"] for result in index[0]["results"]] == [
        "EleutherAI/wikitext_document_level",
        "mmlu",
        "my/task",
    ]


def test_the_text_says_what_was_kept_and_how_fast_it_is():
    text = card.render(subject())
    assert "81,000,000 parameters, 162.0 MB of weights" in text
    assert "compared with [org/teacher](https://huggingface.co/org/teacher). It passed" in text
    assert "| 91.2 % [89.2, 93.2] |" in text.replace("  ", "")
    assert "90.0 % [88.0, 92.0]" in text
    assert "1.90x [1.70, 2.10]" in text
    assert "0.60x" in text
    assert "20.0 / 81.5" in text
    assert "the engine does not say" in text
    assert "arc\\_easy was limited" in text or "arc_easy was limited" in text


def test_a_student_that_failed_says_so():
    assert "It **failed** the criterion" in card.render(subject(variant=student(verdict="FAIL")))


def test_verdicts_are_explained_by_the_gates_rules_where_it_has_them():
    assert "interval shows at least 85 % retention; FAIL" in card.render(subject())
    judged = {"student": "student", "observed": estimate(0.9), "verdict": "PASS", "text": "kept"}
    kept = RuleResult(rule=Rule(name="min-retention", bound=0.8), where="arc_easy", **judged)
    small = RuleResult(rule=Rule(name="max-size-ratio", bound=0.5), where=None, **judged)
    text = card.render(subject(report=report(gate=(kept, small))))
    assert "interval shows at least 80 % retention on every task; FAIL" in text


def test_findings_about_other_variants_are_theirs():
    found = (
        Finding(weight="high", subject="student-int4", text="is the other one"),
        Finding(weight="medium", subject="student", text="is this one"),
        Finding(weight="high", subject="arc_easy", text="student-int4 is INCONCLUSIVE"),
        Finding(weight="high", subject="arc_easy", text="student is INCONCLUSIVE"),
        Finding(weight="low", subject="run", text="is of no weight"),
    )
    other = student(name="student-int4", ref="runs/student-int4")
    one = subject(
        report=report(student(), other, findings=found),
        names={TEACHER: "teacher", STUDENT: "student", "runs/student-int4": "student-int4"},
    )
    limits = card.render(one).partition("## Limits")[2].partition("## How to use it")[0]
    assert "is this one" in limits
    assert "is the other one" not in limits
    assert "student is INCONCLUSIVE" in limits
    assert "student-int4 is INCONCLUSIVE" not in limits
    assert "is of no weight" not in limits


def test_foreign_text_is_text(tmp_path):
    finding = Finding(weight="high", subject=HOSTILE, text=HOSTILE)
    lineage = Lineage(training=replace(trained(), settings={"--data": HOSTILE}))
    one = subject(
        report=report(findings=(finding,)),
        address=HOSTILE,
        lineage=lineage,
        retentions=(retention(entry(HOSTILE), tasks=(task(HOSTILE, dataset=HOSTILE),)),),
        hub_names=frozenset(),
    )
    text = card.render(one)
    tokens = [
        child for token in PARSER.parse(text.partition("\n---\n")[2]) for child in (token, *(token.children or []))
    ]
    assert {token.type for token in tokens} & {"html_block", "html_inline", "link_open", "image"} == set()
    assert read(text, tmp_path)["license"] == "apache-2.0"


def test_the_same_subject_gives_the_same_bytes():
    assert card.files(subject()) == card.files(subject())


def test_several_comparisons_each_have_a_table():
    second = retention(entry("lambada_openai", score=0.4), tasks=(task("lambada_openai", dataset="org/lambada"),))
    text = card.render(subject(retentions=(retention(), second)))
    assert text.count("both models on the same documents") == 2
    assert (
        metadata(subject(retentions=(retention(), second))).to_dict()["model-index"][0]["results"][1]["dataset"]["name"]
        == "lambada_openai"
    )


def test_a_classifier_is_no_text_generation():
    one = subject(retentions=(retention(students=(facts(STUDENT, architecture="BertForSequenceClassification"),)),))
    assert metadata(one).to_dict()["pipeline_tag"] == "text-classification"
    assert 'pipeline("text-classification", model="me/student")' in card.render(one)


def test_recovered_gap_is_shown_where_it_is_known():
    one = subject(variant=student(gap_recovered=estimate(0.4)))
    assert "gap recovered by distillation" in card.render(one)
    assert "gap recovered by distillation" not in card.render(subject())


def test_a_standard_error_stands_for_an_interval_where_that_is_all_there_is():
    kl = Estimate(value=0.0859, stderr=0.0021, reason="fidelity states its standard error, no interval")
    assert "0.0859 +- 0.0021" in card.render(subject(variant=student(kl=kl)))
