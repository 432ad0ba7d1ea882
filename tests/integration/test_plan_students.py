"""The commands that a plan prints make the students that it counted."""

import shlex

import pytest
from fakes.tiny_families import make_tokenizer, save
from fakes.tiny_teachers import TEACHERS, TEXT, kind, save_teacher

from distill_eval import checkpoint, cli
from distill_eval.plan.students import propose
from distill_eval.schema.model import ModelRef
from distill_eval.student import prepare as stage
from distill_eval.student.count import auto_class
from distill_eval.student.teacher import read_teacher


@pytest.mark.parametrize("family", ["llama", "gemma3", "bert", "gemma2"])
def test_prepare_makes_what_was_planned(family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = family in TEACHERS
    model = save_teacher(family, tmp_path / "teacher") if known else save(family, tmp_path / "teacher")
    make_tokenizer().save_pretrained(tmp_path / "teacher")
    (tmp_path / "corpus.txt").write_text("\n".join(TEXT) * 4, encoding="utf-8")
    ref = ModelRef.parse(str(tmp_path / "teacher"))
    model_kind = kind(family) if known else "causal"
    for number, plan in enumerate(propose(read_teacher(ref, tmp_path / "teacher"), model.num_parameters() * 2 // 3)):
        argv = [word.replace("student", f"student{number}") for word in shlex.split(plan.prepare)[1:]]
        more = [] if "--calibration" not in argv else ["--calibration-samples", "4", "--calibration-length", "32"]
        made = stage.run(cli.parse([*argv, *more]), argv=argv)
        student = auto_class(model_kind).from_pretrained(tmp_path / f"student{number}")
        assert made.student_num_parameters == student.num_parameters() == plan.sizes.parts.total
        assert made.student_shape == (plan.sizes.shape if known else None)
        assert checkpoint.weight_bytes(tmp_path / f"student{number}") == pytest.approx(
            plan.sizes.weight_bytes["fp32"], rel=0.1
        )  # the header of a tiny file is a tenth of it
    assert number >= 1
