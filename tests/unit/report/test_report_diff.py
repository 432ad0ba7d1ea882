"""What changed, as text. Every number is invented for the layout."""

from dataclasses import replace

from distill_eval.bench.ratios import ratio
from distill_eval.report import diff
from distill_eval.schema.diff import Diff, Side, SpeedChange, StudentChange, TaskChange
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.retention import Estimate, Finding, Flips, Provenance

NO_KL = Estimate(value=None, reason="no distribution was held against the teacher's")


def near(value, half):
    return Estimate(value=value, stderr=half / 2, ci_low=value - half, ci_high=value + half)


def task(name="arc", **changes):
    one = TaskChange(
        task=name,
        metric="acc",
        filter="none",
        unit="share",
        higher_is_better=True,
        num_tasks=1,
        num_docs_before=1000,
        num_docs_after=1000,
        num_pairs=1000,
        before=near(0.60, 0.03),
        after=near(0.57, 0.03),
        difference=near(-0.03, 0.012),
        retention_before=near(0.95, 0.02),
        retention_after=near(0.90, 0.02),
        test="exact McNemar",
        p_value=0.0001,
        p_adjusted=0.0002,
        outcome="worse",
        flips=Flips(num_harmful=50, num_beneficial=20, num_wrong_to_other_wrong=None),
        reason=None,
    )
    return replace(one, **changes)


def made(*tasks, **changes):
    student = StudentChange(
        name="v1 to v2",
        ref_before="runs/v1",
        ref_after="runs/v2",
        num_parameters_before=100_000_000,
        num_parameters_after=80_000_000,
        size_bytes_before=200_000_000,
        size_bytes_after=160_000_000,
        retention_before=near(0.95, 0.02),
        retention_after=near(0.90, 0.02),
        retention_apart=None,
        verdict_before="PASS",
        verdict_after="FAIL",
        kl_before=NO_KL,
        kl_after=near(0.2, 0.01),
        speeds=(
            SpeedChange(load="concurrency 4", before=ratio([1.5, 1.5, 1.5]), after=None,
                        output_throughput_before=100.0, output_throughput_after=None),
        ),
        tasks=tasks,
    )  # fmt: skip
    found = Diff(
        before=Side(path="runs/v1", digest="a", teacher="big"),
        after=Side(path="runs/v2", digest="b", teacher="big"),
        level=0.95,
        students=(student,),
        gate=(),
        findings=(Finding(weight="medium", subject="run", text="Only the run before has sciq."),),
        provenance=Provenance(
            command="distill-eval diff runs/v1 runs/v2", versions={"python": "3.11"}, hardware="cpu", git_commit=None
        ),
    )
    return replace(found, **changes)


def row(text, first):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_what_became_worse_comes_first():
    text = diff.render(made(task(), task("sciq", outcome="better"), task("piqa", outcome="unclear")))
    first, _, second, *_ = text.splitlines()
    assert first == "# What changed from `runs/v1` to `runs/v2`"
    assert second == (
        "> v1 to v2: worse on 1 of 3 tasks (arc -3.0 pp [-4.2, -1.8]); better on 1 of 3 tasks; no difference can be "
        "told on 1 of 3 tasks."
    )


def test_one_number_of_the_whole_student():
    text = diff.render(made(task()))
    assert row(text, "parameters") == ["parameters", "100,000,000", "80,000,000", "0.800x"]
    assert row(text, "bytes of its weights") == ["bytes of its weights", "200.0 MB", "160.0 MB", "0.800x"]
    assert row(text, "retention, mean over its run's tasks")[1:] == [
        "95.0 % [93.0, 97.0]",
        "90.0 % [88.0, 92.0]",
        "-5.0 pp",
    ]
    assert row(text, "verdict") == ["verdict", "PASS", "FAIL", ""]
    assert row(text, "KL to the teacher, nats per token")[1:] == ["- (1)", "0.2000 [0.1900, 0.2100]", ""]
    assert row(text, "speedup at concurrency 4")[1:] == ["1.50x [1.50, 1.50]", "-", ""]
    assert "- (1) no distribution was held against the teacher's" in text


def test_a_row_per_task():
    assert row(diff.render(made(task())), "arc") == [
        "arc",
        "acc",
        "1,000",
        "60.0 %",
        "57.0 %",
        "-3.0 pp [-4.2, -1.8]",
        "95.0 % [93.0, 97.0]",
        "90.0 % [88.0, 92.0]",
        "0.0002",
        "50 / 20 / - (5.0 / 2.0 / - %) (1)",
        "worse",
    ]


def test_what_is_not_paired_says_why():
    apart = task(num_pairs=None, num_docs_after=500, flips=None, reason="the documents are not there")
    text = diff.render(made(apart))
    cells = row(text, "arc")
    assert (cells[2], cells[5], cells[8], cells[9], cells[10]) == (
        "1,000 / 500",
        "-3.0 pp [-4.2, -1.8] (1)",
        "0.0002 (1)",
        "- (1)",
        "worse",
    )
    assert "- (1) not paired: the documents are not there" in text
    common = row(diff.render(made(task(num_pairs=500, num_docs_after=500, flips=None))), "arc")
    assert common[2] == "500 (1)"


def test_the_gate_stands_before_the_tables_and_the_findings_after():
    broken = RuleResult(
        rule=Rule(name="max-regression", bound=0.01),
        student="v1 to v2",
        where="arc",
        observed=near(-0.03, 0.012),
        verdict="FAIL",
        text="max-regression 0.01 on arc: lost",
    )
    text = diff.render(made(task(), gate=(broken,)))
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[0] == "## Gate"
    assert headings[2:] == ["## Findings, heaviest first", "## How to repeat this", "## How to read this"]
    assert "**FAIL**: 1 of 1 rule is broken." in text
    assert diff.short(made(task(), gate=(broken,))) in text
    assert diff.render(made(task())) == diff.render(made(task()))


def test_without_tasks_nothing_is_claimed():
    assert "v2: no task was compared." in diff.render(made())


def test_means_over_different_tasks_have_no_difference():
    (student,) = made().students
    assert "-5.0 pp" in row(diff.render(made()), "retention, mean over its run's tasks")
    apart = replace(student, retention_apart="the two are means over different tasks")
    text = diff.render(made(students=(apart,)))
    assert "pp" not in row(text, "retention, mean over its run's tasks")
    assert "the two are means over different tasks" in text
