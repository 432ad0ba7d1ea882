import copy

import pytest
import torch
from fakes.tiny_families import CONFIGS, NUM_LAYERS, logits, make_model

from distill_eval.errors import ModelError
from distill_eval.student.depth import drop_layers

KEPT = (0, 2, 3, 5)


def layers_of(model):
    base = getattr(model, model.base_model_prefix)
    return base.h if hasattr(base, "h") else getattr(base, "decoder", base).layers


@pytest.mark.parametrize("family", CONFIGS)
def test_dropped_layers_are_skipped_and_nothing_else_changes(family):
    teacher = make_model(family)
    student = copy.deepcopy(teacher)
    drop_layers(student, KEPT)

    assert student.config.num_hidden_layers == len(layers_of(student)) == 4
    for position, index in enumerate(KEPT):
        old, new = layers_of(teacher)[index].state_dict(), layers_of(student)[position].state_dict()
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)
    outside = {name for name, _ in student.named_parameters() if not any(part.isdigit() for part in name.split("."))}
    assert outside
    assert all(torch.equal(teacher.get_parameter(name), student.get_parameter(name)) for name in outside)
    numbers = [m.layer_idx for m in student.modules() if hasattr(m, "layer_idx")]
    assert sorted(set(numbers)) == [0, 1, 2, 3]
    assert not torch.equal(logits(student), logits(teacher))


@pytest.mark.parametrize("family", CONFIGS)
def test_a_student_computes_its_teacher_with_the_dropped_layers_as_identity(family):
    teacher = make_model(family)
    student = copy.deepcopy(teacher)
    drop_layers(student, KEPT)
    for index in set(range(NUM_LAYERS)) - set(KEPT):
        layers_of(teacher)[index].forward = lambda hidden_states, *args, **kwargs: hidden_states
    teacher.config.use_cache = student.config.use_cache = False
    assert torch.equal(logits(student), logits(teacher))


@pytest.mark.parametrize("family", CONFIGS)
def test_all_layers_kept_is_the_same_model(family):
    teacher = make_model(family)
    student = copy.deepcopy(teacher)
    drop_layers(student, tuple(range(NUM_LAYERS)))
    assert torch.equal(logits(student), logits(teacher))
    assert student.config.to_dict() == teacher.config.to_dict()


def test_per_layer_config_follows_the_layers():
    gemma, qwen = make_model("gemma3"), make_model("qwen2")
    assert gemma.config.layer_types[5] == "full_attention"
    assert qwen.config.layer_types == ["full_attention"] * 3 + ["sliding_attention"] * 3
    drop_layers(gemma, (1, 5))
    drop_layers(qwen, (0, 2, 3, 4, 5))
    assert gemma.config.layer_types == ["sliding_attention", "full_attention"]
    assert qwen.config.layer_types == ["full_attention"] * 2 + ["sliding_attention"] * 3
    assert qwen.config.max_window_layers == 2


def test_generation_with_the_cache_is_generation_without_it():
    student = make_model("gemma3")
    drop_layers(student, KEPT)
    tokens = torch.arange(1, 13)[None]
    with_cache, without = (
        student.generate(tokens, max_new_tokens=8, min_new_tokens=8, do_sample=False, use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert with_cache.shape == (1, 20)
    assert torch.equal(with_cache, without)


def test_a_model_without_one_list_of_decoder_layers_is_refused():
    model = make_model("llama")
    model.model.extra = torch.nn.ModuleList([torch.nn.Identity() for _ in range(NUM_LAYERS)])
    with pytest.raises(ModelError) as error:
        drop_layers(model, KEPT)
    assert str(error.value) == (
        "LlamaForCausalLM: expected its 6 decoder layers in one list of modules, "
        "found model.layers (6), model.extra (6)"
    )
