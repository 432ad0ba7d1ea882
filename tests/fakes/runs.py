"""What tests of `distill-eval run` share: data, recipes as files, what a run recorded, and a run that is killed."""

import json
import os
import random
import re
import signal

from distill_eval.pipeline.run import run
from distill_eval.pipeline.stages import Tools
from distill_eval.progress import ConsoleProgress
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Provenance
from distill_eval.store import Store

WORDS = ["bone", "heart", "liver", "first", "second", "who", "where", "answer", "long", "way"]


def write_text(path, num_lines=120):
    """Lines of words to train on."""
    draw = random.Random(0)
    lines = [" ".join(draw.choice(WORDS) for _ in range(draw.randint(4, 20))) for _ in range(num_lines)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))


def recipe_text(tables):
    """TOML of tables by their names, `""` for the top, `[name]` for one of several; `None` leaves one out."""
    said = {name: text for name, text in tables.items() if text is not None}
    return "\n".join(f"[{name}]\n{text}" if name else text for name, text in said.items()) + "\n"


def write(folder, text, name="tiny.toml"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def record(folder):
    return from_json(RecipeRun, (folder / "run.json").read_bytes(), source="run.json")


def recorded(recipe, folders, status=None):
    """What a run records of stages by their name, all of them done but for those whose status is told."""
    stages = tuple(
        StageRun(
            name=name, stage=name.split()[0], status=(status or {}).get(name, "done"), config_digest="",
            input_digests={}, folder=folder, files={}, seconds=1.0, num_attempts=1, error=None,
        )
        for name, folder in folders.items()
    )  # fmt: skip
    provenance = Provenance(command="", versions={}, hardware="cpu", git_commit=None)
    return RecipeRun(source="a.toml", recipe=recipe, stages=stages, provenance=provenance)


def by_name(folder):
    return {stage.name: stage for stage in record(folder).stages}


def skipped(printed):
    return [line.split("] ")[1].split(":")[0] for line in printed.splitlines() if "done before, skipped" in line]


def killed(recipe, line):
    """Run a recipe in a process of its own, which kills itself when it says a line; the signal, or 0 at the end."""
    child = os.fork()
    if child == 0:
        try:
            run(
                recipe,
                source="test",
                tools=tools(lambda said: re.search(line, said) and os.kill(os.getpid(), signal.SIGKILL)),
            )
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def tools(say):
    return Tools(store=Store(), say=say, progress=ConsoleProgress, argv=["run"])
