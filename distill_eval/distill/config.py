"""The command line of `distill-eval distill`: what to learn from whom, on which data, and for how long."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import Literal

from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.label_config import LabelConfig
from distill_eval.distill.on_policy_config import OnPolicyConfig
from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef


@record
class LossConfig:
    """alpha * T^2 * D(teacher_T, student_T) + (1 - alpha) * CE, the mean over scored tokens."""

    alpha: float = 0.7
    """Weight of the soft term; 0 trains on the text alone."""
    temperature: float = 2.0
    """Divides the logits of both models in the soft term."""
    loss: Literal["forward_kl", "reverse_kl", "jsd", "tv", "uld"] = "forward_kl"
    """The divergence D between teacher and student; uld compares sorted probabilities, across different tokenizers."""
    beta: float = 0.5
    """The teacher's weight in the mixture of jsd."""
    feature_weight: float = 0.0
    """Weight of the distance between hidden states, added to the loss."""
    feature_loss: Literal["mse", "cosine"] = "mse"
    """The distance between hidden states."""
    attention_weight: float = 0.0
    """Weight of the distance between attention maps, added to the loss."""
    attention_loss: Literal["kl", "mse", "value_relation"] = "kl"
    """The distance between attention maps, or MiniLM's between value relations."""
    layer_map: str = "uniform"
    """Which layers of both are compared: uniform, last, or pairs STUDENT:TEACHER such as 0:1,5:11."""
    hard_last: float = 0.0
    """Share of the steps, at the end, that train on the text alone."""

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, f"--alpha {self.alpha:g}: expected a number from 0 to 1, e.g. 0.7")
        require(
            0 < self.temperature < math.inf,
            f"--temperature {self.temperature:g}: expected a number above 0, e.g. 2",
        )
        require(0 < self.beta < 1, f"--beta {self.beta:g}: expected a number between 0 and 1, e.g. 0.5")
        require(0 <= self.hard_last < 1, f"--hard-last {self.hard_last:g}: expected a share below 1, e.g. 0.1")
        for name in ("feature_weight", "attention_weight"):
            value = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            require(0 <= value < math.inf, f"{flag} {value:g}: expected 0 or more")


@record
class TrainingConfig:
    """The schedule and the machine; the loop is that of transformers.Trainer."""

    steps: int | None = None
    """Optimizer steps; instead of --epochs."""
    epochs: float | None = None
    """Passes over the data (default: 1)."""
    batch_size: int = 8
    """Sequences per device and forward pass; halved by itself when memory runs out, with --accumulate doubled."""
    accumulate: int = 1
    """Forward passes per optimizer step."""
    learning_rate: float = 3e-4
    """Peak of the cosine schedule."""
    warmup: float = 0.05
    """Share of the steps with a rising learning rate."""
    weight_decay: float = 0.01
    """AdamW's."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the student computes in; its weights and the optimizer stay float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA where there is one."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    eval_every: int | None = None
    """Steps between two validations (default: a twentieth of all)."""
    save_every: int | None = None
    """Steps between two checkpoints (default: as --eval-every)."""
    keep_checkpoints: int = 2
    """Whole checkpoints kept while training; none is left at the end."""
    patience: int | None = None
    """Stop after this many validations without a better perplexity."""
    stop_within: float | None = None
    """Stop when validation perplexity is within this share of the teacher's, e.g. 0.02 (with uld: bits per byte)."""
    max_skipped: int = 5
    """Stop after this many batches whose loss or gradient was not a number; the last one is saved."""
    seed: int = 1234
    """For the order of the data, dropout and new weights."""
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = "none"
    """Where transformers.Trainer logs the curves, besides the run's own distill.json."""

    def __post_init__(self) -> None:
        require(self.steps is None or self.epochs is None, "--steps and --epochs: give one of them")
        for name in ("steps", "batch_size", "accumulate", "eval_every", "save_every", "keep_checkpoints", "patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name.replace('_', '-')} {value}: expected 1 or more")
        require(self.epochs is None or 0 < self.epochs < math.inf, f"--epochs {self.epochs}: expected more than 0")
        require(
            0 < self.learning_rate < math.inf,
            f"--learning-rate {self.learning_rate:g}: expected a number above 0, e.g. 3e-4",
        )
        require(0 <= self.warmup < 1, f"--warmup {self.warmup:g}: expected a share below 1, e.g. 0.05")
        require(0 <= self.seed < 2**32, f"--seed {self.seed}: expected a number from 0 to {2**32 - 1}")
        require(self.max_skipped >= 0, f"--max-skipped {self.max_skipped}: expected 0 or more")
        require(
            self.stop_within is None or self.stop_within >= 0,
            f"--stop-within {self.stop_within}: expected a share, e.g. 0.02",
        )


@record
class DistillConfig:
    """Train a student on what its teacher knows."""

    student: str = ""
    """Hub name or folder of the student to train, e.g. one that `distill-eval prepare` wrote."""
    teacher: tuple[str, ...] = ()
    """One or more teachers, comma-separated; several are mixed by their probabilities. None with --alpha 0."""
    teacher_weights: tuple[str, ...] = ()
    """Weight of each teacher in the mixture (default: equal)."""
    teacher_dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "nf4"] = "auto"
    """What a live teacher computes in; int8 and nf4 need bitsandbytes."""
    cached_teacher: Path | None = None
    """Folder of `distill-eval cache-teacher`, instead of a live teacher; with --teacher, of that one alone."""
    data: DataConfig
    labels: LabelConfig = field(default_factory=LabelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    own_text: OnPolicyConfig = field(default_factory=OnPolicyConfig)
    baseline: bool = False
    """Train without the teacher (alpha 0) on the same data in the same order: what distillation is measured by."""
    chain: tuple[str, ...] = ()
    """Instead of --student: parameters of each assistant and of the student, e.g. 110M,80M. Each is made from the model
    before it and taught by it. With --baseline the last one is trained without a teacher too."""
    output_dir: Path
    """Where the student goes, as a Hugging Face folder with distill.json; checkpoints while it trains."""
    resume: bool = False
    """Go on with the run in --output-dir."""

    def __post_init__(self) -> None:
        _check_student(self)
        for teacher in self.teacher:
            ModelRef.parse(teacher)
        require(
            len(self.teacher) < 2 or self.cached_teacher is None,
            f"--teacher {','.join(self.teacher)}: a --cached-teacher is of one of them; name that one, or none",
        )
        require(
            bool(self.teacher) or self.cached_teacher is not None or self.alpha == 0,
            "no teacher: give --teacher or --cached-teacher, or --alpha 0 to train on the text alone",
        )
        weights = self.teacher_weights
        require(
            not weights or len(weights) == len(self.teacher),
            f"--teacher-weights {','.join(weights)}: expected one number for each of {len(self.teacher)} teachers",
        )
        require(
            all(_is_weight(weight) for weight in weights),
            f"--teacher-weights {','.join(weights)}: expected numbers above 0, e.g. 2,1",
        )
        self._check_cached()
        needs_one = self.loss.feature_weight > 0 or self.loss.attention_weight > 0
        require(
            not needs_one or self.cached_teacher is not None or len(self.teacher) == 1 or self.baseline,
            "--feature-weight and --attention-weight need one teacher: its layers are compared",
        )
        self._check_stopping()
        if self.own_text.on_policy > 0:
            self._check_own_text()
        if self.loss.loss == "uld":
            self._check_across_tokenizers()
        if self.labels.label_column is not None:
            self._check_classifier()

    def _check_cached(self) -> None:
        cached = self.cached_teacher is not None
        require(
            not cached or self.loss.attention_weight == 0 or self.baseline,
            f"--attention-weight {self.loss.attention_weight:g}: a cached teacher has no attention maps: they take a "
            "number per head and pair of tokens. Leave it out, or train with a live --teacher",
        )
        require(
            not cached or self.alpha == 0 or self.loss.loss in ("forward_kl", "uld"),
            f"--loss {self.loss.loss}: it needs the teacher's whole distribution, and a cached teacher keeps a part. "
            "Type --loss forward_kl, or train with a live --teacher",
        )

    def _check_stopping(self) -> None:
        early = {"--patience": self.training.patience, "--stop-within": self.training.stop_within}
        for flag, value in early.items():
            require(
                value is None or not self.baseline,
                f"{flag} {value}: a baseline takes the steps of its student, and each would stop in its own time. "
                "Leave it out of both, and say how long with --steps",
            )
        require(
            self.training.stop_within is None or (bool(self.teacher) and self.cached_teacher is None),
            f"--stop-within {self.training.stop_within}: it needs a live --teacher, whose validation is measured first",
        )

    def _check_classifier(self) -> None:
        require(not self.data.streaming, "--streaming: a classifier's texts are read whole. Leave it out")
        require(
            self.data.packing != "crossing",
            "--packing crossing: a classifier sees one text per row, padded. Leave --packing out",
        )
        require(
            self.cached_teacher is None,
            "--cached-teacher holds next-token distributions: a classifier's teacher is asked live, with --teacher",
        )
        require(self.own_text.on_policy == 0, "--on-policy: a classifier writes no text. Leave it out")
        require(
            self.loss.loss != "uld",
            "--loss uld compares tokens, and labels are compared by name. Choose forward_kl, reverse_kl, jsd or tv",
        )

    def _check_across_tokenizers(self) -> None:
        require(
            len(self.teacher) == 1 and self.cached_teacher is None,
            "--loss uld compares the student with one live --teacher, which reads the text in its own tokens",
        )
        require(
            self.loss.feature_weight == 0 and self.loss.attention_weight == 0,
            "--loss uld: the layers of models with different tokenizers stand at different places of the text. Leave "
            "--feature-weight and --attention-weight out",
        )
        require(
            self.own_text.on_policy == 0,
            "--on-policy needs a teacher with the student's tokenizer: leave it or --loss uld out",
        )
        require(
            self.data.packing != "crossing",
            "--packing crossing: with --loss uld documents are aligned one by one. Type --packing isolated",
        )

    def _check_own_text(self) -> None:
        own, flag = self.own_text, f"--on-policy {self.own_text.on_policy:g}"
        require(
            self.cached_teacher is None,
            f"{flag}: a cached teacher knows its fixed rows alone, and what the student writes is new. Give a live "
            "--teacher",
        )
        require(
            bool(self.teacher) and self.loss.alpha > 0,
            f"{flag}: the student's own text has nothing to learn but what a teacher says about it. Give --teacher and "
            "--alpha above 0",
        )
        require(
            own.max_new_tokens < self.data.max_length,
            f"--max-new-tokens {own.max_new_tokens}: expected less than --max-length {self.data.max_length}, which a "
            "prompt and its continuation share",
        )

    @property
    def alpha(self) -> float:
        """Weight of the soft term; 0 for a baseline."""
        return 0.0 if self.baseline else self.loss.alpha

    @property
    def mixture(self) -> tuple[float, ...]:
        """Weight of each teacher; they sum to 1."""
        weights = [float(weight) for weight in self.teacher_weights] or [1.0] * len(self.teacher)
        return tuple(weight / sum(weights) for weight in weights)


def _check_student(config: DistillConfig) -> None:
    if not config.chain:
        require(bool(config.student), "no student: give --student, or --chain 110M,80M to have it made in steps")
        ModelRef.parse(config.student)
        return
    sizes = ",".join(config.chain)
    require(all(config.chain), f"--chain {sizes}: expected sizes, e.g. 110M,80M")
    require(not config.student, f"--student {config.student}: --chain makes the student, so leave one of them out")
    require(
        len(config.teacher) == 1,
        f"--chain {sizes}: expected one --teacher, from which the first model is made, not {len(config.teacher)}",
    )
    require(
        config.cached_teacher is None,
        f"--cached-teacher {config.cached_teacher}: each model of --chain {sizes} has another teacher; leave it out",
    )


def _is_weight(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
