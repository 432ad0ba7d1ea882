"""Writes distill_eval/plan/tasks.toml: documents and tokens of well-known tasks, as lm-eval renders them.

python scripts/measure_tasks.py

It takes the tasks' data and SmolLM2's tokenizer from the Hub, and some minutes.
"""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from distill_eval import checkpoint
from distill_eval.evaluate.sizes import Tasks, TaskSize, read_tokenizer
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


def main() -> None:
    """Measure and write."""
    tasks = Tasks(Store())
    tokenizer = read_tokenizer(checkpoint.locate(ModelRef.parse(TOKENIZER), checkpoint.SMALL_FILES, role="model"))
    lines, groups = [], {}
    for name in TASKS:
        leaves = tasks.leaves(name)
        if leaves != (name,):
            groups[name] = leaves
        for leaf in leaves:  # one at a time: requests of a whole group would take gigabytes
            lines.append(line(leaf, tasks.sizes([leaf], tokenizer=tokenizer, max_length=MAX_LENGTH)[leaf]))
            print(lines[-1], flush=True)
    members = [f"{name} = {toml_value(list(leaves))}" for name, leaves in groups.items()]
    text = "\n".join([HEAD, "[groups]", *members, "", "[tasks]", *lines])
    PAGE.write_text(text + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
