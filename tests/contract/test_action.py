"""action.yml and the example workflow fit each other and the command line, and their steps do what they say."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from distill_eval import cli

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INPUTS = ACTION["inputs"]
STEPS = ACTION["runs"]["steps"]
RUN = next(step for step in STEPS if step.get("id") == "run")
EXAMPLE = (ROOT / "docs" / "examples" / "gate.yml").read_text()
WORKFLOW = yaml.safe_load(EXAMPLE)
OUR_STEPS = [
    step for job in WORKFLOW["jobs"].values() for step in job["steps"] if "distill-eval@" in step.get("uses", "")
]
COMPARE = "--teacher org/big --student ./small --tasks arc_easy,sciq"
FAKE = """#!{python}
import json, os, sys
json.dump(sys.argv[1:], open(os.environ["SEEN"], "w"))
sys.exit(int(os.environ["FAKE_CODE"]))
"""


def expanded(text, given):
    """GitHub's `${{ inputs.x }}` replaced by what is given, or the input's default."""
    known = {name: spec.get("default") for name, spec in INPUTS.items()} | given
    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: known[found[1]], text)


def run(tmp_path, code=0, **given):
    """The step that compares, under bash, with a command that notes its words: exit code, words and outputs."""
    given = {name.replace("_", "-"): value for name, value in given.items()}
    tools, seen, output = tmp_path / "bin", tmp_path / "seen.json", tmp_path / "output"
    tools.mkdir(exist_ok=True)
    fake = tools / "distill-eval"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    (tools / "python").unlink(missing_ok=True)
    (tools / "python").symlink_to(sys.executable)
    env = {
        **{name: expanded(value, given) for name, value in RUN["env"].items()},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SEEN": str(seen),
        "FAKE_CODE": str(code),
        "GITHUB_OUTPUT": str(output),
    }
    script = tmp_path / "script.sh"
    script.write_text(RUN["run"])
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]  # as GitHub starts `shell: bash`
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, json.loads(seen.read_text()) if seen.exists() else None, outputs


def test_every_input_is_used_and_every_one_that_is_used_is_declared():
    used = set(re.findall(r"inputs\.([a-z-]+)", json.dumps(STEPS)))
    assert used == set(INPUTS)
    assert [name for name, spec in INPUTS.items() if spec.get("required")] == ["arguments"]
    assert all("default" in spec for name, spec in INPUTS.items() if name != "arguments")
    ids = {step.get("id") for step in STEPS}
    for output in ACTION["outputs"].values():
        step, name = re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", output["value"]).groups()
        assert step in ids
        assert f'echo "{name}=' in RUN["run"]


def test_nothing_that_a_user_wrote_is_pasted_into_a_script():
    assert [step for step in STEPS if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize(
    ("code", "gate", "expected", "verdict"),
    [
        (0, "true", 0, "PASS"),
        (3, "true", 3, "FAIL"),
        (4, "true", 4, "INCONCLUSIVE"),
        (1, "true", 1, "ERROR"),
        (3, "false", 0, "FAIL"),
        (4, "false", 0, "INCONCLUSIVE"),
        (1, "false", 1, "ERROR"),
        (2, "false", 2, "ERROR"),
    ],
)
def test_the_verdict_is_the_outputs_and_the_jobs_exit_code(tmp_path, code, gate, expected, verdict):
    found, _, outputs = run(tmp_path, code, arguments=COMPARE, gate=gate)
    assert (found, outputs) == (expected, {"verdict": verdict, "report": "distill-eval/report.md"})


def test_the_step_types_a_command_that_the_parser_accepts(tmp_path):
    rules = "--min-retention 0.9 --max-size-ratio 0.5 --rule 'sciq:max-harmful-flips=0.1'"
    _, words, _ = run(tmp_path, arguments=COMPARE, rules=rules, output_dir="out dir")
    config = cli.parse(words)
    assert (config.teacher, config.student, config.evaluation.tasks) == ("org/big", ("./small",), ("arc_easy", "sciq"))
    assert (config.min_retention, config.rules.max_size_ratio) == (0.9, 0.5)
    assert config.rules.rule == ("sciq:max-harmful-flips=0.1",)
    assert config.gate
    assert (config.ci.junit, config.ci.github_summary, config.ci.annotations) == (True, True, True)
    assert config.output_dir == Path("out dir")


def test_a_rule_with_a_blank_in_it_stays_whole(tmp_path):
    _, words, outputs = run(
        tmp_path, command="report", arguments="runs/a 'runs/b c'", rules="--rule 'concurrency 4:min-speedup=1.5'"
    )
    assert words[:5] == ["report", "runs/a", "runs/b c", "--rule", "concurrency 4:min-speedup=1.5"]
    config = cli.parse(words)
    assert config.runs == (Path("runs/a"), Path("runs/b c"))
    assert outputs["report"] == "distill-eval/report.md"


@pytest.mark.parametrize("given", [{"arguments": f"{COMPARE} 'x"}, {"arguments": COMPARE, "rules": '--rule "a'}])
def test_a_quote_that_is_not_closed_runs_nothing(tmp_path, given):
    assert run(tmp_path, **given) == (2, None, {"verdict": "ERROR"})


def test_the_artifact_has_the_hidden_files_of_the_cards():
    (upload,) = [step["with"] for step in STEPS if step.get("uses", "").startswith("actions/upload-artifact@")]
    assert upload["include-hidden-files"] is True


def test_a_diff_has_a_report_of_its_own_name_and_no_annotations_where_they_are_not_wanted(tmp_path):
    _, words, outputs = run(tmp_path, command="diff", arguments="runs/a runs/b", annotations="false")
    config = cli.parse(words)
    assert (config.before, config.after, config.gate) == (Path("runs/a"), Path("runs/b"), True)
    assert not config.ci.annotations
    assert outputs["report"] == "distill-eval/diff.md"


def test_the_install_step_takes_the_action_itself_unless_a_package_is_named(tmp_path):
    install = next(step for step in STEPS if step.get("name") == "Install")
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "python").chmod(0o755)
    for package, expected in (("", "/the/action"), ("distill-eval==1.0", "distill-eval==1.0")):
        env = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "GITHUB_ACTION_PATH": "/the/action",
            "PACKAGE": expanded(install["env"]["PACKAGE"], {"package": package}),
        }
        done = subprocess.run(["bash", "-c", install["run"]], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["-m", "pip", "install", expected]


def test_the_example_gives_the_action_what_it_asks_for(tmp_path):
    assert len(OUR_STEPS) == 1
    given = OUR_STEPS[0]["with"]
    assert set(given) <= set(INPUTS)
    assert "arguments" in given
    _, words, _ = run(tmp_path, **{name.replace("-", "_"): value for name, value in given.items()})
    config = cli.parse(words)
    assert config.gate
    assert [rule.name for rule in config.rules.rules] == ["max-size-ratio", "max-harmful-flips", "min-retention"]


def test_what_the_example_leaves_to_its_reader_is_told_where_it_stands_and_above_all():
    (step,) = OUR_STEPS
    assert step["uses"] == "OWNER/distill-eval@main"
    told = EXAMPLE.partition("name: Gate")[0]
    assert re.findall(r"^#     (\S+) +in `uses:`", told, flags=re.MULTILINE) == ["OWNER", "main"]
    assert "# replace OWNER and main" in next(line for line in EXAMPLE.splitlines() if "OWNER/" in line)
    assert "`OWNER` stands for" in (ROOT / "docs" / "guides" / "gate.md").read_text()


def test_the_examples_conditions_name_steps_and_outputs_that_there_are():
    ids = {step["id"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "id" in step}
    for step, output in re.findall(r"steps\.(\w+)\.outputs\.(\w+)", EXAMPLE):
        assert step in ids
        assert output in ACTION["outputs"]


@pytest.mark.parametrize("command", re.findall(r"^ *# +distill-eval (.+)$", EXAMPLE, flags=re.MULTILINE))
def test_a_command_in_the_examples_comments_parses(command):
    assert cli.parse(shlex.split(command)) is not None


def test_the_example_has_commands_in_its_comments():
    assert len(re.findall(r"^ *# +distill-eval (.+)$", EXAMPLE, flags=re.MULTILINE)) == 2
