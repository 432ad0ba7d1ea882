from dataclasses import replace

import pytest
import torch
from fakes.tiny_families import logits
from fakes.tiny_teachers import TEACHERS, kind, make_teacher

from distill_eval.errors import UsageError
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.depth import find_layers
from distill_eval.student.fresh import copy_matching, make_fresh
from distill_eval.student.shape import read_shape, with_heads


def described(family):
    model = make_teacher(family)
    architecture = ARCHITECTURES[type(model).__name__]
    return model, architecture, read_shape(model.config, architecture)


@pytest.mark.parametrize("family", TEACHERS)
def test_a_fresh_student_has_its_shape_and_its_seeds_weights(family):
    teacher, architecture, shape = described(family)
    small = with_heads(replace(shape, num_layers=3, hidden_size=16, ffn_size=24), 2)
    state = torch.get_rng_state()
    first, again, other = (make_fresh(teacher, architecture, small, kind(family), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert read_shape(first.config, architecture) == small
    assert type(first) is type(teacher)
    assert not first.training
    assert torch.equal(logits(first), logits(again))
    assert not torch.equal(logits(first), logits(other))
    assert teacher.config.num_hidden_layers == 6


def test_it_has_the_teachers_dtype_and_layer_types():
    teacher = make_teacher("gemma3", dtype=torch.bfloat16)
    architecture = ARCHITECTURES["Gemma3ForCausalLM"]
    shape = read_shape(teacher.config, architecture)
    student = make_fresh(teacher, architecture, replace(shape, num_layers=3), "causal", seed=0)
    assert student.dtype == torch.bfloat16
    assert student.config.layer_types == teacher.config.layer_types[:3]


@pytest.mark.parametrize("family", TEACHERS)
def test_tensors_of_the_teachers_shape_are_copied(family):
    teacher, architecture, shape = described(family)
    student = make_fresh(teacher, architecture, replace(shape, num_layers=3, ffn_size=20), kind(family), seed=0)
    copied = copy_matching(teacher, student, architecture)
    theirs, ours = dict(teacher.named_parameters()), dict(student.named_parameters())
    outside = [name for name in ours if not name.startswith(f"{architecture.layers}.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in outside)
    matching = sum(ours[name].numel() for name in outside)
    sources, layers = find_layers(teacher)[1], find_layers(student)[1]
    for place, source in enumerate((0, 2, 5)):
        old = dict(sources[source].named_parameters())
        for name, values in layers[place].named_parameters():
            assert torch.equal(values, old[name]) == (values.shape == old[name].shape), name
            matching += values.numel() if values.shape == old[name].shape else 0
    assert copied == matching
    assert 0 < copied < student.num_parameters()


def test_nothing_to_copy_is_refused():
    teacher, architecture, shape = described("llama")
    small = replace(shape, hidden_size=16, ffn_size=24)
    student = make_fresh(teacher, architecture, small, "causal", seed=0)
    with pytest.raises(UsageError, match="--init teacher: no tensor of the new student has its teacher's shape"):
        copy_matching(teacher, student, architecture)
