import copy
from pathlib import Path

import pytest
from fakes.tiny_families import CONFIGS
from fakes.tiny_teachers import TEACHERS, kind, make_teacher
from transformers import OPTConfig

from distill_eval import cli
from distill_eval.errors import UsageError
from distill_eval.plan.config import PlanConfig
from distill_eval.plan.published import published
from distill_eval.plan.students import find_target, propose
from distill_eval.schema.model import ModelRef
from distill_eval.student.config import PrepareConfig
from distill_eval.student.count import on_meta
from distill_eval.student.depth import keep_in_config
from distill_eval.student.plan import make_plan
from distill_eval.student.teacher import describe

LLAMA = "meta-llama/Llama-3.1-70B"
ASKED = [(LLAMA, 8)] + [
    (name, ratio) for name in ("Qwen/Qwen2.5-7B", "google-bert/bert-base-uncased") for ratio in (2, 8, 20)
]


def well_known(name):
    config, _ = published(name)
    return describe(ModelRef.parse(name), config)


def tiny(config):
    return describe(ModelRef.parse("org/tiny"), config)


def total(teacher):
    return on_meta(teacher.config, teacher.kind).num_parameters()


def parsed(plan):
    """What `prepare` makes of the command that a plan prints."""
    program, *argv = plan.prepare.split()
    assert program == "distill-eval"
    config = cli.parse(argv)
    assert isinstance(config, PrepareConfig)
    return config


@pytest.mark.parametrize(("name", "ratio"), ASKED)
def test_three_students_of_the_size_that_was_asked_for(name, ratio):
    teacher = well_known(name)
    most = total(teacher)
    plans = propose(teacher, round(most / ratio))
    assert len({plan.sizes.shape for plan in plans}) == 3
    for plan in plans:
        assert plan.compression == pytest.approx(ratio, rel=0.021)
        assert plan.compression == most / plan.sizes.parts.total
        config = parsed(plan)
        assert (config.teacher, config.output_dir) == (name, Path("student"))
        made = make_plan(config, teacher)  # what `prepare` itself decides, without weights
        assert (made.after, made.num_parameters) == (plan.sizes.shape, plan.sizes.parts.total)
    cuts = [plan for plan in plans if "--fresh" not in plan.prepare]
    assert plans[: len(cuts)] == tuple(cuts)
    depths = [plan.sizes.shape.num_layers for plan in cuts]
    assert depths == sorted(depths, reverse=True)
    assert cuts[0].sizes.shape.hidden_size == min(plan.sizes.shape.hidden_size for plan in cuts)


def test_half_of_qwen_7b():
    deep, least, shallow = propose(well_known("Qwen/Qwen2.5-7B"), 3_807_808_256)
    assert (deep.sizes.shape.num_layers, shallow.sizes.shape.hidden_size) == (28, 3584)
    assert "--num-layers 28" in deep.prepare
    assert deep.sizes.shape.hidden_size <= least.sizes.shape.hidden_size < 3584
    assert shallow.sizes.shape.ffn_size == 14208  # three quarters of 18944, since all of them leave no 2 % to meet
    assert shallow.sizes.shape.num_layers < least.sizes.shape.num_layers < 28


def test_a_handful_of_full_layers_is_no_student():
    """Llama 70B at an eighth could have 8 of its 80 layers: a new model is proposed instead."""
    assert not any(plan.why.startswith("Shallow") for plan in propose(well_known(LLAMA), 8_819_213_312))


@pytest.mark.parametrize("family", TEACHERS)
def test_students_of_every_architecture(family):
    config = TEACHERS[family]()
    config.architectures = [type(make_teacher(family)).__name__]
    teacher = tiny(config)
    target = total(teacher) // 2
    plans = propose(teacher, target)
    assert 2 <= len(plans) <= 3
    for plan in plans:
        assert plan.sizes.parts.total == pytest.approx(target, rel=0.02)
        assert (plan.sizes.kv_cache is None) == (kind(family) == "classifier")


@pytest.mark.parametrize(
    "config",
    [
        CONFIGS["gemma2"](),
        CONFIGS["cohere"](),
        OPTConfig(
            vocab_size=260, hidden_size=32, word_embed_proj_dim=16, ffn_dim=48, num_attention_heads=4,
            num_hidden_layers=6,
        ),
    ],
    ids=["gemma2", "cohere", "opt with a projection"],
)  # fmt: skip
def test_a_teacher_that_cannot_be_narrower_loses_layers(config):
    teacher = tiny(config)
    four = total(teacher) - 2 * (total(teacher) - one_layer_less(config))
    plans = propose(teacher, four)
    assert plans[0].sizes.parts.total == four
    assert make_plan(parsed(plans[0]), teacher).layers == (0, 2, 3, 5)
    assert "--keep-layers 0,2,3,5" in plans[0].prepare
    assert {plan.prepare.count(",") + 1 for plan in plans} == {3, 4, 5}
    assert all(type(config).__name__.removesuffix("Config") in plan.why for plan in plans)


def one_layer_less(config):
    less = copy.deepcopy(config)
    keep_in_config(less, tuple(range(5)))
    return on_meta(less, "causal").num_parameters()


def test_targets_that_no_student_meets():
    llama = tiny(TEACHERS["llama"]())
    with pytest.raises(UsageError, match=r"no student has 100 parameters within 2%.* Nearest: .*Type --target-params"):
        propose(llama, 100)
    with pytest.raises(UsageError, match=r"nothing but layers can be cut from a Gemma2ForCausalLM, and with one layer"):
        propose(tiny(CONFIGS["gemma2"]()), 100)


def test_the_whole_teacher_is_one_student():
    teacher = tiny(TEACHERS["llama"]())
    (plan,) = propose(teacher, total(teacher))
    assert plan.compression == 1


def test_the_target():
    assert find_target(PlanConfig(teacher="org/t", ratio=8), 70_553_706_496) == 8_819_213_312
    assert find_target(PlanConfig(teacher="org/t", target_params="1.5B"), 7_615_616_512) == 1_500_000_000
    with pytest.raises(UsageError) as error:
        find_target(PlanConfig(teacher="org/t", target_params="200M"), 134_515_008)
    assert str(error.value) == (
        "--target-params 200M: the teacher has 134.5M (134,515,008), and a student not more. Type a smaller number, "
        "e.g. --target-params 33.63M"
    )


def test_a_name_with_spaces_is_quoted():
    teacher = describe(ModelRef.parse("./my models/tiny"), TEACHERS["llama"]())
    assert "--teacher './my models/tiny' " in propose(teacher, total(teacher) // 2)[0].prepare
