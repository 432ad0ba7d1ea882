import copy
import itertools

import pytest
import torch
from fakes.tiny_families import logits
from fakes.tiny_teachers import CLASSIFIERS, NUM_LAYERS, make_teacher
from hypothesis import given
from hypothesis import strategies as st

from distill_eval.student.depth import drop_layers, evenly_spaced, find_layers, most_important

KEPT = (0, 2, 3, 5)


@pytest.mark.parametrize(
    ("num_layers", "keep_ends", "kept"),
    [
        (5, True, (0, 1, 2, 3, 4)),
        (4, True, (0, 1, 3, 4)),
        (3, True, (0, 1, 4)),
        (2, True, (0, 4)),
        (3, False, (1, 3, 4)),
        (1, False, (1,)),
    ],
)
def test_the_layers_that_matter_stay(num_layers, keep_ends, kept):
    assert most_important([0.1, 0.9, 0.2, 0.5, 0.3], num_layers, keep_ends=keep_ends) == kept


def test_of_equal_layers_the_first_stay():
    assert most_important([1.0, 1.0, 1.0, 1.0], 3, keep_ends=True) == (0, 1, 3)
    assert most_important([1.0, 1.0, 1.0, 1.0], 2, keep_ends=False) == (0, 1)
    assert most_important([1.0], 1, keep_ends=True) == (0,)


@given(st.integers(1, 60).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))))
def test_evenly_spaced_layers_differ_and_include_the_ends(case):
    num_layers, of = case
    layers = evenly_spaced(num_layers, of)
    assert len(set(layers)) == num_layers
    assert list(layers) == sorted(layers)
    assert layers[0] == 0
    assert layers[-1] == (of - 1 if num_layers > 1 else 0)
    gaps = [after - before for before, after in itertools.pairwise(layers)]
    assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifier_computes_its_teacher_with_the_dropped_layers_as_identity(family):
    teacher = make_teacher(family)
    student = copy.deepcopy(teacher)
    drop_layers(student, KEPT)
    assert student.config.num_hidden_layers == len(find_layers(student)[1]) == 4
    assert not torch.equal(logits(student), logits(teacher))
    for index in set(range(NUM_LAYERS)) - set(KEPT):
        find_layers(teacher)[1][index].forward = lambda hidden_states, *args, **kwargs: hidden_states
    assert torch.equal(logits(student), logits(teacher))
