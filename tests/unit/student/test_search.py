import copy
import itertools
from dataclasses import replace

import pytest
from fakes.tiny_teachers import TEACHERS, kind
from transformers import BertConfig, Gemma3TextConfig, GPT2Config, LlamaConfig, Qwen2Config

from distill_eval.errors import UsageError
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.count import count_shape, on_meta, read_terms
from distill_eval.student.depth import keep_in_config
from distill_eval.student.search import TOLERANCE, Fixed, Search
from distill_eval.student.shape import fits, read_shape, with_heads, write_widths
from distill_eval.student.sizes import parse_size

REAL = {
    "smollm2-135m": LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    ),
    "llama-3-8b": LlamaConfig(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_key_value_heads=8),
    "qwen2.5-0.5b": Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    "gemma-3-270m": Gemma3TextConfig(
        vocab_size=262144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
    ),
    "gpt2": GPT2Config(),
    "bert-base": BertConfig(num_labels=2),
}
RATIOS = [0.95, 0.9, 0.8, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2]


def prepared(config, model_kind, fixed=None):
    model = on_meta(config, model_kind)
    architecture = ARCHITECTURES[type(model).__name__]
    teacher = read_shape(config, architecture)
    terms = read_terms(model, architecture, teacher)
    return Search(teacher, architecture, terms, fixed or Fixed()), teacher, terms, architecture


def built(config, architecture, model_kind, shape):
    """The parameters of a model with this shape, as transformers builds it."""
    changed = copy.deepcopy(config)
    keep_in_config(changed, tuple(range(shape.num_layers)))
    write_widths(changed, architecture, shape)
    return on_meta(changed, model_kind).num_parameters()


@pytest.mark.parametrize("fresh", [False, True], ids=["cut", "fresh"])
@pytest.mark.parametrize("name", REAL)
def test_every_ratio_of_a_real_model_is_met(name, fresh):
    model_kind = "classifier" if name == "bert-base" else "causal"
    search, teacher, terms, architecture = prepared(REAL[name], model_kind)
    most = count_shape(terms, teacher)
    for ratio in RATIOS:
        target = round(ratio * most)
        shape = search.grow(target) if fresh else search.prune(target, min_layers=2)
        found = count_shape(terms, shape)
        assert abs(found / target - 1) <= TOLERANCE
        assert found == built(REAL[name], architecture, model_kind, shape)
        assert fits(architecture, shape.hidden_size, shape.num_heads, shape.head_dim)
        assert shape.num_layers <= teacher.num_layers
        assert shape.hidden_size <= teacher.hidden_size
        assert shape.ffn_size <= teacher.ffn_size
        assert shape.head_dim == teacher.head_dim
        assert shape.num_heads * teacher.num_kv_heads == teacher.num_heads * shape.num_kv_heads
        assert shape.ffn_size % 8 == 0
        assert shape.hidden_size % 8 == 0


@pytest.mark.parametrize("fresh", [False, True], ids=["cut", "fresh"])
@pytest.mark.parametrize("family", TEACHERS)
def test_a_target_is_met_within_two_percent_or_the_nearest_are_named(family, fresh):
    config, model_kind = TEACHERS[family](), kind(family)
    search, teacher, terms, architecture = prepared(config, model_kind)
    most = count_shape(terms, teacher)
    find = search.grow if fresh else lambda target: search.prune(target, min_layers=2)
    met = 0
    for ratio in RATIOS:
        target = round(ratio * most)
        shape, message = outcome(find, target)
        if message:
            assert "within 2%. Nearest: " in message
            target = parse_size(message.partition("--target-params ")[2].partition(",")[0])
            assert target < round(ratio * most) * (1 - TOLERANCE)
            shape = find(target)
        else:
            met += 1
        found = count_shape(terms, shape)
        assert abs(found / target - 1) <= TOLERANCE
        assert found == built(config, architecture, model_kind, shape)
    assert met >= (5 if fresh else 8)


def outcome(find, target):
    """The shape, or what is said when there is none."""
    try:
        return find(target), ""
    except UsageError as error:
        return None, str(error)


@pytest.mark.parametrize("family", ["llama", "gemma3", "bert"])
def test_the_whole_teacher_is_a_target_too(family):
    search, teacher, terms, _ = prepared(TEACHERS[family](), kind(family))
    assert search.prune(count_shape(terms, teacher), min_layers=2) == teacher
    assert search.grow(count_shape(terms, teacher)) == teacher


def test_the_nearest_below_and_above_are_the_nearest():
    """Against every shape there is, with all but two sizes fixed."""
    config = TEACHERS["qwen3"]()
    search, teacher, terms, _ = prepared(config, "causal", Fixed(hidden_size=32, num_heads=4, ffn_size=48))
    sizes = [count_shape(terms, replace(teacher, num_layers=layers)) for layers in range(2, 7)]
    for below, above in itertools.pairwise(sizes):
        target = (below + above) // 2
        with pytest.raises(UsageError) as error:
            search.prune(target, min_layers=2)
        message = str(error.value)
        layers = sizes.index(below) + 2
        assert message.startswith("no student with --ffn-size 48 --hidden-size 32 --num-heads 4 has ")
        assert f"(--num-layers {layers} --ffn-size 48 --hidden-size 32 --num-heads 4) and " in message
        assert f"(--num-layers {layers + 1} --ffn-size 48" in message


def test_below_the_smallest_only_what_is_above_is_named():
    search, teacher, terms, _ = prepared(TEACHERS["qwen3"](), "causal", Fixed(hidden_size=32))
    least = count_shape(terms, with_heads(replace(teacher, num_layers=2, ffn_size=1), 2))
    with pytest.raises(UsageError) as error:
        search.prune(1000, min_layers=2)
    assert f"Nearest: {least / 1000:.4g}K (--num-layers 2 --ffn-size 1 --hidden-size 32 --num-heads 2). " in str(
        error.value
    )


@pytest.mark.parametrize(
    "fixed",
    [
        Fixed(num_layers=20),
        Fixed(hidden_size=576, num_heads=9),
        Fixed(ffn_size=1024),
        Fixed(num_layers=25, num_heads=6),
    ],
)
def test_what_is_fixed_stays(fixed):
    search, teacher, terms, _ = prepared(REAL["smollm2-135m"], "causal", fixed)
    target = round(0.7 * count_shape(terms, teacher))
    shape = search.prune(target, min_layers=2)
    assert abs(count_shape(terms, shape) / target - 1) <= TOLERANCE
    for name, value in fixed._asdict().items():
        assert value is None or getattr(shape, name) == value


def test_a_fresh_student_is_deep_and_in_proportion():
    search, teacher, terms, _ = prepared(REAL["llama-3-8b"], "causal")
    for ratio in (0.75, 0.5, 0.25):
        shape = search.grow(round(ratio * count_shape(terms, teacher)))
        assert shape.num_layers >= 0.9 * teacher.num_layers
        assert shape.ffn_size / shape.hidden_size == pytest.approx(teacher.ffn_size / teacher.hidden_size, rel=0.126)
        assert shape.num_heads / shape.hidden_size == pytest.approx(teacher.num_heads / teacher.hidden_size, rel=0.2)


def test_proportions_fill_what_is_not_given():
    def proportions(**fixed):
        return prepared(REAL["smollm2-135m"], "causal", Fixed(**fixed))[0].proportions()

    _, teacher, _, _ = prepared(REAL["smollm2-135m"], "causal")
    assert proportions() == teacher
    assert proportions(num_layers=12) == replace(teacher, num_layers=12)
    half = with_heads(replace(teacher, hidden_size=384, ffn_size=1024), 6)
    assert proportions(hidden_size=384) == half
    assert proportions(hidden_size=384, ffn_size=512, num_layers=2) == replace(half, ffn_size=512, num_layers=2)
    assert proportions(hidden_size=384, num_heads=3) == with_heads(half, 3)
    with pytest.raises(UsageError) as error:
        proportions(hidden_size=400)
    assert str(error.value) == (
        "--hidden-size 400 goes with no number of heads in the proportion of the teacher's 9 heads in 3 KV groups to "
        "576 (LLaMA): name another, or --num-heads too"
    )
