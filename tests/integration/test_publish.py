"""`distill-eval report` that takes a real comparison to a Hub of our own, and the programs that a card prints."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import hub as fakes
from fakes.subjects import STUDENT, facts, retention, student, subject
from fakes.tiny_classifiers import distilbert
from fakes.tiny_classifiers import save as save_classifier
from fakes.tiny_teachers import save_teacher
from fakes.tiny_variants import save_onnx, save_original
from huggingface_hub import ModelCard

from distill_eval import cli
from distill_eval.checkpoint import file_digest
from distill_eval.evaluate.models import locate
from distill_eval.record import from_json
from distill_eval.report import card_usage
from distill_eval.report.subject import Lineage
from distill_eval.schema.export import ExportRun
from distill_eval.schema.model import ModelRef

REPORTS = Path(__file__).resolve().parents[2] / "reports"
VARIANTS = REPORTS / "2026-11-26-smollm2-variants"
TEACHER = "HuggingFaceTB/SmolLM2-135M-Instruct"
CARD = "---\nlicense: apache-2.0\nlanguage:\n- en\n---\n\n# The teacher\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder in which the comparison was made, with one of its students."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", fakes.TOKEN)
    save_teacher("llama", tmp_path / "w8a8")
    shutil.copy(VARIANTS / "w8a8" / "quant.json", tmp_path / "w8a8")
    return tmp_path


@pytest.fixture
def hub(place, monkeypatch):
    """A Hub that has the teacher's card."""
    with fakes.serve(cards={TEACHER: CARD}) as fake:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", fake.address)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            fake.address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield fake


def report(*words, runs=VARIANTS):
    return cli.main(["report", str(runs), "--output-dir", "out", *words])


@pytest.fixture
def measured(place):
    """The comparison, with the folder that is here as what it scored."""
    runs = place / "runs"
    shutil.copytree(VARIANTS, runs)
    ref = ModelRef.parse("w8a8")
    found = json.loads((runs / "retention.json").read_text())
    (student,) = [one for one in found["students"] if one["ref"] == "w8a8"]
    student["weights_digest"] = locate(ref, file_digest).weights_digest
    (runs / "retention.json").write_text(json.dumps(found))
    return runs


def test_cards_of_all_variants_with_the_license_of_the_teacher(hub, place):
    assert report("--card") == 0
    written = {path.parent.name for path in (place / "out" / "cards").glob("*/README.md")}
    made = {path.parent.name for path in VARIANTS.glob("*/*.json")}
    assert written == made
    assert len(written) == 10
    data = ModelCard.load(place / "out" / "cards" / "onnx-int8" / "README.md").data.to_dict()
    assert (data["license"], data["language"], data["base_model"]) == ("apache-2.0", ["en"], TEACHER)
    assert not any(path.startswith("/api/") for path in hub.asked)


def test_without_a_flag_nothing_is_asked_of_the_hub(hub, place):
    assert report() == 0
    assert hub.asked == []
    assert not (place / "out" / "cards").exists()


def test_cards_of_an_older_report_do_not_stand_beside_a_new_one(hub, place):
    assert report("--card") == 0
    assert report() == 0
    assert [path for path in (place / "out" / "cards").rglob("*") if path.is_file()] == []


def test_what_does_not_pass_stays_here(hub, measured, capsys):
    words = ("--push-to-hub", "me/small", "--variant", "w8a8", "--max-size-ratio", "0.01")
    assert report(*words, "--gate", runs=measured) == 3
    assert "not uploaded to me/small: the gate's verdict is not PASS" in capsys.readouterr().out
    assert hub.asked == []
    assert report(*words[:2], *words[4:], runs=measured) == 2
    assert "the report recommends none of" in capsys.readouterr().err
    assert hub.files == {}


def test_a_folder_that_is_not_what_was_measured_stays_here(hub, measured, place, capsys):
    words = ("--push-to-hub", "me/small", "--variant", "w8a8")
    with (place / "w8a8" / "config.json").open("a") as file:
        file.write("\n")
    assert report(*words, runs=measured) == 2
    assert "--push-to-hub: w8a8 is not what was measured" in capsys.readouterr().err
    assert hub.files == {}


def test_a_variant_goes_up_with_its_card_and_no_other(hub, measured, place, capsys):
    assert report("--push-to-hub", "me/small", "--variant", "w8a8", runs=measured) == 0
    assert hub.private == {"me/small": True}
    files = hub.files["me/small"]
    assert {"README.md", "config.json", "model.safetensors", "quant.json", ".eval_results/sciq.yaml"} <= set(files)
    assert files["model.safetensors"] == (place / "w8a8" / "model.safetensors").read_bytes()
    assert files["README.md"] == (place / "out" / "cards" / "w8a8" / "README.md").read_bytes()
    assert b'from_pretrained("me/small")' in files["README.md"]
    assert [path.name for path in (place / "out" / "cards").iterdir()] == ["w8a8"]
    assert f"uploaded to {hub.address}/me/small/commit/" in capsys.readouterr().out
    assert not (place / "w8a8" / "README.md").exists()


@pytest.mark.parametrize(
    ("words", "token", "message"),
    [
        (["--push-to-hub", "me/small"], None, "there is no token for the Hub"),
        (["--push-to-hub", "small"], fakes.TOKEN, "expected a repository, NAMESPACE/NAME"),
        (["--card", "--license", "Apache 2"], fakes.TOKEN, "expected its name on the Hub"),
        (["--license", "mit"], fakes.TOKEN, "--license is for a card"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(words, token, message, hub, place, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(place / "no-token"))
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    assert report(*words) == 2
    assert message in capsys.readouterr().err
    assert not (place / "out").exists()
    assert hub.asked == []


def test_without_a_card_of_the_teacher_the_license_is_asked_for(place, monkeypatch, capsys):
    with fakes.serve() as fake:
        template = fake.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        assert report("--card") == 2
        assert f"under which license {TEACHER} may be used. Type --license" in capsys.readouterr().err
        assert report("--card", "--license", "mit") == 0


# ---- what a card tells to type


def run(program, capsys):
    exec(compile(program, "card", "exec"), {})
    return capsys.readouterr().out


def program_of(one):
    return card_usage.section(one).partition("```python\n")[2].partition("\n```")[0]


def test_the_program_for_a_language_model_runs(tmp_path, capsys):
    save_teacher("llama", tmp_path / "student")
    one = subject(address=str(tmp_path / "student"), on_hub=False)
    assert run(program_of(one), capsys).strip()


def test_the_program_for_a_classifier_runs(tmp_path, capsys):
    save_classifier(tmp_path / "student", distilbert(2), labels=("bad", "good"))
    compared = retention(students=(facts(STUDENT, architecture="DistilBertForSequenceClassification"),))
    one = subject(address=str(tmp_path / "student"), on_hub=False, retentions=(compared,))
    assert {"bad", "good"} & set(run(program_of(one), capsys).split("'"))


def test_the_program_for_onnx_runs(tmp_path, capsys):
    save_original(tmp_path / "original")
    save_onnx(tmp_path / "original", tmp_path / "student", "fp32")
    made = from_json(ExportRun, (VARIANTS / "onnx-fp32" / "export.json").read_bytes(), source="export.json")
    one = subject(
        address=str(tmp_path / "student"),
        on_hub=False,
        variant=replace(student(), quantization=None),
        lineage=Lineage(export=made),
    )
    assert run(program_of(one), capsys).strip()
    on_hub = one._replace(on_hub=True, address="me/student")
    assert 'model = og.Model(snapshot_download("me/student"))' in program_of(on_hub)
    assert json.dumps("me/student") in program_of(on_hub)
