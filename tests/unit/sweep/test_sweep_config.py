"""What can be asked of a sweep, and what is refused before any work."""

import pytest

from distill_eval.cli import parse
from distill_eval.distill.config import DistillConfig, LossConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.errors import UsageError
from distill_eval.sweep.config import SweepConfig
from distill_eval.sweep.space import at, points


def sweep(tmp_path, *, loss=None, distill=None, **options):
    distill = {"teacher": ("teacher",)} | (distill or {})
    run = DistillConfig(
        student="student",
        data=DataConfig(data="text.jsonl"),
        loss=LossConfig(**(loss or {})),
        output_dir=tmp_path,
        **distill,
    )
    return SweepConfig(distill=run, **options)


def test_a_grid_has_every_combination_once_the_last_option_fastest(tmp_path):
    config = sweep(tmp_path, temperatures=("1", "2", "1.0"), learning_rates=("1e-4", "3e-4"), losses=("jsd",))
    assert list(points(config.dimensions)) == [
        {"loss": "jsd", "temperature": temperature, "learning_rate": rate}
        for temperature in (1.0, 2.0)
        for rate in (1e-4, 3e-4)
    ]
    assert config.most_trials == 4
    assert config.space == {"--losses": "jsd", "--temperatures": "1,2,1.0", "--learning-rates": "1e-4,3e-4"}


def test_a_point_changes_what_it_names_and_nothing_else(tmp_path):
    config = sweep(tmp_path, loss={"beta": 0.3}, alphas=("0.5",)).distill
    changed = at(config, {"loss": "jsd", "alpha": 0.5, "learning_rate": 1e-5})
    assert (changed.loss.loss, changed.loss.alpha, changed.training.learning_rate) == ("jsd", 0.5, 1e-5)
    assert (changed.loss.beta, changed.loss.temperature) == (0.3, 2.0)
    assert at(changed, {"loss": "forward_kl", "alpha": 0.7, "learning_rate": 3e-4}) == config


def test_the_command_line_has_the_options_of_distill(tmp_path):
    words = "sweep --student s --teacher t --data d.jsonl --output-dir o --alpha 0.9 --sampler tpe"
    config = parse([*words.split(), "--learning-rates=1e-5:1e-3", "--num-trials=7"])
    assert config.distill.loss.alpha == 0.9
    assert config.most_trials == 7
    [rate] = config.dimensions
    assert (rate.name, rate.is_range, rate.values) == ("learning_rate", True, (1e-5, 1e-3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to vary"),
        ({"alphas": ("0.5", "much")}, "--alphas 0.5,much: expected numbers"),
        ({"alphas": ("0.5", "1.5")}, "would be refused: --alpha 1.5: expected a number from 0 to 1"),
        ({"temperatures": ("0:2",), "sampler": "tpe"}, "would be refused: --temperature 0: expected a number above 0"),
        ({"temperatures": ("4:1",), "sampler": "tpe"}, "--temperatures 4:1: expected a range from a smaller"),
        ({"temperatures": ("1:4",)}, "--temperatures 1:4: a range is for --sampler tpe"),
        ({"losses": ("kl",)}, "unknown --losses 'kl'. Known: forward_kl, jsd, reverse_kl, tv"),
        ({"losses": ("forward_kl", "uld")}, "--losses: uld reads other data"),
        ({"alphas": ("0.5",), "loss": {"loss": "uld"}, "rank_by": "kl"}, "--rank-by kl is not defined with --loss uld"),
        ({"alphas": ("0.5",), "num_trials": 4}, "--num-trials is for --sampler tpe"),
        ({"alphas": ("0.5",), "keep_best": 0}, "--keep-best 0: expected 1 or more"),
        ({"alphas": ("0.5",), "rank_by": "retention"}, "--tasks and --rank-by retention need each other"),
        ({"alphas": ("0.5",), "tasks": ("arc_easy",)}, "--tasks and --rank-by retention need each other"),
        ({"alphas": ("0.5",), "limit": 3.0}, "--limit and --include-path are for --rank-by retention"),
        ({"alphas": ("0.5",), "rank_by": "retention", "tasks": ("a",), "limit": 1.5}, "--limit 1.5: expected"),
        ({"alphas": ("0.5",), "distill": {"baseline": True}}, "--baseline has no teacher"),
        (
            {"losses": ("jsd",), "distill": {"teacher": (), "cached_teacher": "cache"}},
            "--cached-teacher holds one temperature",
        ),
        (
            {"alphas": ("0.5",), "rank_by": "kl", "distill": {"teacher": (), "cached_teacher": "cache"}},
            "--rank-by kl: give a --teacher",
        ),
        (
            {"alphas": ("0.5",), "rank_by": "retention", "tasks": ("a",), "distill": {"teacher": ("a", "b")}},
            "--rank-by retention: give one --teacher",
        ),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    with pytest.raises(UsageError) as caught:
        sweep(tmp_path, **options)
    assert message in str(caught.value)
