r"""How far a plan's memory and time are from what `distill-eval distill` takes, on this machine's processor.

    distill-eval prepare --teacher HuggingFaceTB/SmolLM2-135M-Instruct \
        --keep-layers 0,2,4,6,8,10,12,14,16,18,20,22,24,26,29 --output-dir half
    OMP_NUM_THREADS=1 python benchmarks/plan_check.py --teacher HuggingFaceTB/SmolLM2-135M-Instruct --student half \
        --data local/lm_corpus --output plan_check.md

Every setting is BATCHxLENGTH, with `checkpointing` and `bfloat16` behind a colon. Each training is a process of its
own; what it held is its largest resident size, less that of a process that imports the same and reads tokenizers and
data, but no models. A planned step takes what `--calibrate` measures, in another process; a measured one is the mean
between two optimizer steps of `distill`. Both are in seconds of the processor, which do not count what other work on
the machine takes.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distill_eval.distill.data_config import DataConfig
    from distill_eval.plan.activations import Dtype
    from distill_eval.plan.config import TrainingPlan

STEPS, CALIBRATED, DOCUMENTS = 4, 2, 150
KIB = 1024
SETTINGS = "1x512,4x512:bfloat16,2x512:checkpointing:bfloat16,4x128:checkpointing,2x512"


class Setting(NamedTuple):
    """A batch, and how it is trained on."""

    batch_size: int
    length: int
    checkpointing: bool
    dtype: Dtype

    @classmethod
    def parse(cls, text: str) -> Setting:
        """E.g. `4x256:checkpointing:bfloat16`."""
        size, *options = text.split(":")
        batch_size, length = size.split("x")
        dtype: Dtype = "bfloat16" if "bfloat16" in options else "float32"
        return cls(int(batch_size), int(length), "checkpointing" in options, dtype)

    @property
    def training(self) -> TrainingPlan:
        """As a plan has it."""
        from distill_eval.plan.config import TrainingPlan

        return TrainingPlan(
            batch_size=self.batch_size, max_length=self.length, gradient_checkpointing=self.checkpointing
        )

    def __str__(self) -> str:
        """As it was typed."""
        checkpointing = ", checkpointing" if self.checkpointing else ""
        return f"{self.batch_size} x {self.length}, {self.dtype}{checkpointing}"


# ---- the children


def train(task: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """A whole `distill`: seconds between its optimizer steps, and the size of a checkpoint."""
    from distill_eval.distill.config import DistillConfig, TrainingConfig
    from distill_eval.distill.run import run

    stamps = stamped_steps()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "student"
        checkpoints: list[int] = []

        def seen(*_: Any) -> None:
            files = [file for file in output.glob("checkpoint-*/*") if file.is_file()]
            checkpoints.append(sum(file.stat().st_size for file in files))

        training = TrainingConfig(
            steps=STEPS, batch_size=setting.batch_size, dtype=setting.dtype, device="cpu",
            gradient_checkpointing=setting.checkpointing, eval_every=STEPS, save_every=STEPS // 2,
        )  # fmt: skip
        config = DistillConfig(
            student=task["student"],
            teacher=(task["teacher"],),
            data=data_config(task, setting),
            training=training,
            output_dir=output,
        )
        run(config, argv=[], on_validation=seen, say=lambda line: print(line, file=sys.stderr))
    gaps = [after - before for before, after in pairwise(stamps)]
    del gaps[STEPS // 2 - 1]  # a checkpoint is written between these two
    return {"step_s": statistics.mean(gaps), "checkpoint_bytes": max(checkpoints)}


def data_config(task: dict[str, Any], setting: Setting) -> DataConfig:
    """A few documents."""
    from distill_eval.distill.data_config import DataConfig

    return DataConfig(data=task["data"], max_length=setting.length, max_documents=DOCUMENTS, validation_documents=2)


def stamped_steps() -> list[float]:
    """A list that gets the processor's time after every optimizer step from now on."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    stamps: list[float] = []
    register_optimizer_step_post_hook(lambda *_: stamps.append(time.process_time()))
    return stamps


def idle(task: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """All that a training imports and reads before its models: tokenizers and data."""
    import datasets
    from transformers import AutoModelForCausalLM, Trainer

    from distill_eval.distill import data, models, run
    from distill_eval.schema.model import ModelRef

    teacher, student = (models.locate(ModelRef.parse(task[role]), role=role) for role in ("teacher", "student"))
    models.check_vocabulary(student, teacher)
    texts = data.load(data_config(task, setting), student.tokenizer, seed=1234, batch_blocks=setting.batch_size)
    used = (datasets, AutoModelForCausalLM, Trainer, run)
    return {"names": [one.__name__ for one in used], "num_rows": len(texts.validation)}


def calibrate(task: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """Seconds between the steps of the plan's own short training."""
    from distill_eval.plan.calibrate import step_seconds

    stamps = stamped_steps()
    step_seconds(
        *configs(task),
        setting.training,
        setting.dtype,
        "cpu",
        say=lambda line: print(line, file=sys.stderr),
        steps=CALIBRATED,
    )
    return {"step_s": statistics.mean(after - before for before, after in pairwise(stamps))}


CHILDREN = {"train": train, "idle": idle, "calibrate": calibrate}


def child(text: str) -> None:
    """Do one of them and write what it found, with the largest resident size of this process."""
    task = json.loads(text)
    found = CHILDREN[task["what"]](task, Setting(*task["setting"]))
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    Path(task["result"]).write_text(json.dumps(found))


def measured(what: str, setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """Run a child."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        task = {"what": what, "setting": list(setting), "result": str(result)}
        task |= {"teacher": args.teacher, "student": args.student, "data": args.data}
        subprocess.run([sys.executable, __file__, "--child", json.dumps(task)], check=True)
        found: dict[str, Any] = json.loads(result.read_text())
        return found


# ---- the plan


def configs(task: dict[str, Any]) -> tuple[Any, Any]:
    """Of teacher and student."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(task["teacher"]), AutoConfig.from_pretrained(task["student"])


def row(setting: Setting, baseline: int, args: argparse.Namespace) -> str:
    """A line of the table: planned, measured and error."""
    from distill_eval.plan.memory import peak_memory
    from distill_eval.plan.sizes import model_sizes

    teacher, student = (
        model_sizes(config, "causal", name=name, source=name)
        for name, config in zip(("teacher", "student"), configs(vars(args)), strict=True)
    )
    planned = peak_memory(teacher, student, setting.training, setting.dtype, on_cpu=True).peak
    assert planned is not None
    found = measured("train", setting, args)
    step = measured("calibrate", setting, args)["step_s"]
    held = found["peak_bytes"] - baseline
    checkpoint = 12 * student.parts.total
    return (
        f"| {setting} | {planned / 1e6:,.0f} | {held / 1e6:,.0f} | {planned / held - 1:+.1%} "
        f"| {step:.2f} | {found['step_s']:.2f} | {step / found['step_s'] - 1:+.1%} "
        f"| {checkpoint / found['checkpoint_bytes'] - 1:+.2%} |"
    )


def main() -> None:
    """Measure each setting and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--teacher")
    parser.add_argument("--student")
    parser.add_argument("--data")
    parser.add_argument("--settings", default=SETTINGS)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    if not (args.teacher and args.student and args.data):
        parser.error("give --teacher, --student and --data")
    settings = [Setting.parse(text) for text in args.settings.split(",")]
    baseline = measured("idle", settings[0], args)["peak_bytes"]
    lines = [
        f"Without models: {baseline / 1e6:,.0f} MB.",
        "",
        "| setting | planned MB | held MB | error | calibrated s per step | trained s per step | error | checkpoint |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for setting in settings:
        lines.append(row(setting, baseline, args))
        print(lines[-1], flush=True)
        if args.output:
            args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
