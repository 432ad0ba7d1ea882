"""The command line of `distill-eval sweep`: a run of `distill`, what to vary, and what the best is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_type_hints

from distill_eval.distill.config import DistillConfig, LossConfig
from distill_eval.errors import UsageError, require, unknown
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.record import record
from distill_eval.sweep.space import Dimension, at, dimension, points

DEFAULT_NUM_TRIALS = 20


@record
class SweepConfig:
    """Train one student with several settings and rank them."""

    distill: DistillConfig
    temperatures: tuple[str, ...] = ()
    """Instead of --temperature: values (1,2,4) or, for tpe, a range (1:4)."""
    alphas: tuple[str, ...] = ()
    """Instead of --alpha: values (0.5,0.7,0.9) or, for tpe, a range (0.3:0.9)."""
    learning_rates: tuple[str, ...] = ()
    """Instead of --learning-rate: values (1e-4,3e-4) or, for tpe, a range (1e-5:1e-3), drawn by its logarithm."""
    losses: tuple[str, ...] = ()
    """Instead of --loss: values, e.g. forward_kl,jsd."""
    sampler: Literal["grid", "tpe"] = "grid"
    """grid: all combinations, in order; tpe: Optuna's tree-structured Parzen estimator chooses."""
    num_trials: int | None = None
    """Trials of tpe (default: 20); more may be asked for with --resume. A grid has as many as combinations."""
    prune: Literal["none", "median", "halving"] = "none"
    """Give a trial up at a validation at which its best value so far is above the median of the finished trials (from
    the fourth trial on), or its value is not in the better half after 1, 2, 4 ... validations (successive halving)."""
    rank_by: Literal["validation", "kl", "retention"] = "validation"
    """validation: cross-entropy of the validation text, nats per token; kl: to the teacher at temperature 1; retention:
    mean over --tasks. All three can be compared between trials; training losses cannot: alpha, temperature and loss
    change their scale. Pruning looks at the cross-entropy, with kl at the KL."""
    tasks: tuple[str, ...] = ()
    """For --rank-by retention: tasks, groups or tags of lm-eval, comma-separated."""
    limit: float | None = None
    """Documents per task: a count, or a fraction below 1; by default all."""
    include_path: Path | None = None
    """A folder with task files of your own."""
    keep_best: int = 1
    """Students whose weights are kept; of the others the settings and curves are."""

    def __post_init__(self) -> None:
        require(
            bool(self.dimensions),
            "nothing to vary: give at least one of --temperatures, --alphas, --learning-rates and --losses",
        )
        for one in self.dimensions:
            require(
                self.sampler == "tpe" or not one.is_range,
                f"{one.flag} {self.space[one.flag]}: a range is for --sampler tpe; a grid needs values, e.g. 1,2,4",
            )
        require(
            self.num_trials is None or self.sampler == "tpe",
            "--num-trials is for --sampler tpe: a grid has a trial for each combination",
        )
        require(self.num_trials is None or self.num_trials >= 1, f"--num-trials {self.num_trials}: expected 1 or more")
        require(self.keep_best >= 1, f"--keep-best {self.keep_best}: expected 1 or more")
        self._check_teacher()
        self._check_points()

    def _check_teacher(self) -> None:
        """Refuse what the teacher, or none, cannot do."""
        config = self.distill
        require(not config.chain, "--chain trains several students: sweep one of them")
        require(
            config.cached_teacher is None or not (self.temperatures or self.losses),
            "--cached-teacher holds one temperature, for forward_kl: leave --temperatures and --losses out",
        )
        soft = bool(self.temperatures or self.alphas or self.losses)
        require(not (config.baseline and soft), "--baseline has no teacher: vary --learning-rates alone")
        across = "uld" in (*self.losses, config.loss.loss)
        require(not (across and self.losses), "--losses: uld reads other data, so it is not compared with the others")
        require(not (across and self.rank_by == "kl"), "--rank-by kl is not defined with --loss uld: no common tokens")
        by_kl, by_retention = self.rank_by == "kl", self.rank_by == "retention"
        require(not by_kl or (bool(config.teacher) and config.cached_teacher is None), "--rank-by kl: give a --teacher")
        require(not by_retention or len(config.teacher) == 1, "--rank-by retention: give one --teacher to compare with")
        require(by_retention == bool(self.tasks), "--tasks and --rank-by retention need each other")
        asked = self.limit is not None or self.include_path is not None
        require(by_retention or not asked, "--limit and --include-path are for --rank-by retention")
        require(not (by_retention and config.labels.label_column), "--rank-by retention is for language models")
        if by_retention:
            EvaluateOptions(tasks=self.tasks, limit=self.limit, include_path=self.include_path)

    def _check_points(self) -> None:
        """Refuse, before the first trial, what a later one would be refused for."""
        known = get_args(get_type_hints(LossConfig)["loss"])
        for loss in self.losses:
            if loss not in known:
                unknown("--losses", loss, known)
        try:
            for point in points(self.dimensions):
                at(self.distill, point)
        except UsageError as error:
            raise UsageError(f"a trial of this sweep would be refused: {error}") from None

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What is varied."""
        options = {"--losses": "loss", "--temperatures": "temperature", "--alphas": "alpha"}
        options["--learning-rates"] = "learning_rate"
        return tuple(dimension(options[flag], flag, text.split(",")) for flag, text in self.space.items())

    @property
    def space(self) -> dict[str, str]:
        """What is varied, by flag, as the user typed it."""
        found = {"--losses": self.losses, "--temperatures": self.temperatures, "--alphas": self.alphas}
        found["--learning-rates"] = self.learning_rates
        return {flag: ",".join(texts) for flag, texts in found.items() if texts}

    @property
    def most_trials(self) -> int:
        """Trials after which the sweep is finished."""
        if self.sampler == "tpe":
            return self.num_trials or DEFAULT_NUM_TRIALS
        return sum(1 for _ in points(self.dimensions))
