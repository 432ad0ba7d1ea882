"""Bounds as they are typed."""

import pytest

from distill_eval.cli import main, parse
from distill_eval.errors import UsageError
from distill_eval.gate.options import EXAMPLES, GateOptions
from distill_eval.schema.gate import Rule

COMPARE = ["compare", "--teacher=t", "--student=s", "--tasks=arc"]


def test_options_become_rules():
    options = GateOptions(max_size_ratio=0.5, min_speedup=1.5, max_harmful_flips=0.02, rule=("mmlu:min-retention=0.9",))
    assert options.rules == (
        Rule(name="max-size-ratio", bound=0.5),
        Rule(name="min-speedup", bound=1.5),
        Rule(name="max-harmful-flips", bound=0.02),
        Rule(name="min-retention", bound=0.9, where="mmlu"),
    )
    assert GateOptions().rules == ()


def test_one_option_holds_rules_for_several_places():
    text = "mmlu:min-retention=0.9,sciq:max-harmful-flips=5e-2,concurrency 4, own length:min-speedup=1.2"
    options = parse(["diff", "a", "b", "--rule", "arc:max-regression=0.02"]).rules
    assert options.rules == (Rule(name="max-regression", bound=0.02, where="arc"),)
    options = GateOptions(rule=tuple(part.strip() for part in text.split(",")))
    assert [(rule.where, rule.name, rule.bound) for rule in options.rules] == [
        ("mmlu", "min-retention", 0.9),
        ("sciq", "max-harmful-flips", 0.05),
        ("concurrency 4, own length", "min-speedup", 1.2),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_size_ratio": 0.0}, "--max-size-ratio 0: expected a number above 0, e.g. 0.5"),
        ({"min_speedup": -1.0}, "--min-speedup -1: expected a number above 0, e.g. 1.5"),
        ({"min_speedup": float("inf")}, "--min-speedup inf: expected a number above 0, e.g. 1.5"),
        ({"max_harmful_flips": 2.0}, "--max-harmful-flips 2: expected a share of the documents below 1, e.g. 0.02"),
        ({"max_regression": -0.1}, "--max-regression -0.1: expected 0 or more, e.g. 0.01 for one point of accuracy"),
        (
            {"rule": ("mmlu:min-retention=95",)},
            "--rule mmlu:min-retention=95: expected a share above 0, at most 1, e.g. 0.95",
        ),
        ({"rule": ("mmlu:min-retention=nan",)}, "--rule mmlu:min-retention=nan: expected a share above 0"),
        ({"rule": ("mmlu:min-retention=much",)}, "--rule 'mmlu:min-retention=much': 'much' is not a number"),
        ({"rule": ("min-retention=0.9",)}, "--rule 'min-retention=0.9': expected TASK:RULE=BOUND"),
        ({"rule": ("mmlu",)}, "--rule 'mmlu': expected TASK:RULE=BOUND"),
        ({"rule": ("mmlu:min-retentoin=0.9",)}, "unknown rule 'min-retentoin'. Did you mean 'min-retention'"),
        (
            {"rule": ("mmlu:max-size-ratio=0.5",)},
            "--rule 'mmlu:max-size-ratio=0.5': a size is the whole model's. Type --max-size-ratio 0.5",
        ),
        ({"rule": ("a:margin=0.1", "a:margin=0.2")}, "--rule sets margin of a twice: keep one"),
    ],
)
def test_a_bound_that_means_nothing_is_refused(options, said):
    with pytest.raises(UsageError) as error:
        GateOptions(**options)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            [*COMPARE, "--min-speedup=1.5"],
            "--min-speedup 1.5: compare does not measure what this rule is about. Type it with distill-eval report RUN",
        ),
        (
            [*COMPARE, "--rule=arc:max-regression=0.1"],
            "--rule arc:max-regression=0.1: compare does not measure what this rule is about. Type it with "
            + EXAMPLES["diff"],
        ),
        (
            ["diff", "a", "b", "--max-size-ratio=0.5"],
            "--max-size-ratio 0.5: diff does not measure what this rule is about. Type it with " + EXAMPLES["compare"],
        ),
        (
            ["diff", "a", "b", "--student-a=x"],
            "--student-a and --student-b go together: say which student before is held against which after",
        ),
    ],
)
def test_a_rule_that_a_command_cannot_judge_is_refused_with_the_command_that_can(argv, said, capsys):
    assert main(argv) == 2
    assert capsys.readouterr().err == f"distill-eval: {said}\n"


def test_a_diff_has_a_default_bound_once_a_gate_is_asked_for():
    default = Rule(name="max-regression", bound=0.01)
    task = Rule(name="max-regression", bound=0.03, where="arc")
    assert parse(["diff", "a", "b"]).judged == ()
    assert parse(["diff", "a", "b", "--gate"]).judged == (default,)
    assert parse(["diff", "a", "b", "--junit"]).judged == (default,)
    assert parse(["diff", "a", "b", "--rule=arc:max-regression=0.03"]).judged == (default, task)
    assert parse(["diff", "a", "b", "--max-regression=0"]).judged == (Rule(name="max-regression", bound=0.0),)
