"""Writes distill_eval/plan/tasks.toml: documents and tokens of well-known tasks, as lm-eval renders them.

python scripts/measure_tasks.py              all of them
python scripts/measure_tasks.py blimp mmlu   these alone; the others stay as they were measured

It takes the tasks' data and SmolLM2's tokenizer from the Hub, and some minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from distill_eval.evaluate.sizes import Tasks, TaskSize
from distill_eval.plan.evaluation import well_known
from distill_eval.record import toml_value
from distill_eval.schema.model import ModelRef
from distill_eval.store import Store

TASKS = (
    "arc_easy",
    "arc_challenge",
    "hellaswag",
    "winogrande",
    "sciq",
    "openbookqa",
    "boolq",
    "lambada_openai",
    "wikitext",
    "gsm8k",
    "mmlu",
    "blimp",
)
TOKENIZER = "HuggingFaceTB/SmolLM2-135M-Instruct"
MAX_LENGTH = 8192
LM_EVAL = version("lm_eval")
PAGE = Path(__file__).resolve().parents[1] / "distill_eval" / "plan" / "tasks.toml"
HEAD = f"""# Documents and tokens of well-known tasks, by scripts/measure_tasks.py with lm-eval {LM_EVAL} and the
# tokenizer of {TOKENIZER} ({MAX_LENGTH} tokens at once), with each task's own number of examples.
# num_tokens: every request whole. num_shared_tokens: a common beginning read once. num_new_tokens: written at most.
"""


def line(name: str, size: TaskSize) -> str:
    """A row of the file."""
    said = {field.name: getattr(size, field.name) for field in fields(size)}
    return f"{name} = {{{', '.join(f'{key} = {toml_value(value)}' for key, value in said.items())}}}"


def render(members: Mapping[str, Mapping[str, TaskSize]]) -> str:
    """The file: the tasks of each name."""
    groups = [f"{name} = {toml_value(list(sizes))}" for name, sizes in members.items() if list(sizes) != [name]]
    lines = [line(leaf, size) for sizes in members.values() for leaf, size in sizes.items()]
    return "\n".join([HEAD, "[groups]", *groups, "", "[tasks]", *lines]) + "\n"


def measured(name: str) -> Mapping[str, TaskSize]:
    """The tasks of a name, one at a time: requests of a whole group would take gigabytes."""
    from distill_eval.student.folder import load_tokenizer
    from distill_eval.student.teacher import locate

    ref, tasks, found = ModelRef.parse(TOKENIZER), Tasks(Store()), {}
    tokenizer = load_tokenizer(ref, locate(ref))
    for leaf in tasks.leaves(name):
        found[leaf] = tasks.sizes([leaf], tokenizer=tokenizer, max_length=MAX_LENGTH)[leaf]
        print(line(leaf, found[leaf]), flush=True)
    return found


def main(names: list[str]) -> None:
    """Measure and write."""
    if not set(names) <= set(TASKS):
        sys.exit(f"{', '.join(names)}: expected some of {', '.join(TASKS)}")
    if names and not PAGE.read_text(encoding="utf-8").startswith(HEAD):
        sys.exit(f"{PAGE} is of another lm-eval than {LM_EVAL}: measure all of them")
    stored = {name: well_known(name) for name in TASKS if names and name not in names}
    PAGE.write_text(render({name: stored.get(name) or measured(name) for name in TASKS}), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
