import pytest
import torch
import torch.nn.functional as F

from distill_eval.distill.features import FeatureLoss, layer_rows
from distill_eval.distill.layer_map import check_syntax, layer_pairs
from distill_eval.errors import UsageError


@pytest.mark.parametrize(
    ("text", "num_student", "num_teacher", "pairs"),
    [
        ("uniform", 3, 6, ((0, 1), (1, 3), (2, 5))),
        ("uniform", 4, 6, ((0, 1), (1, 2), (2, 3), (3, 5))),
        ("uniform", 6, 6, tuple((i, i) for i in range(6))),
        ("uniform", 1, 12, ((0, 11),)),
        ("uniform", 6, 3, ((0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2))),
        ("last", 4, 6, ((3, 5),)),
        ("0:1, 3:5", 4, 6, ((0, 1), (3, 5))),
    ],
)
def test_layer_pairs(text, num_student, num_teacher, pairs):
    assert layer_pairs(text, num_student, num_teacher) == pairs


@pytest.mark.parametrize("num_student", [1, 2, 5, 12])
@pytest.mark.parametrize("num_teacher", [1, 3, 12, 30])
def test_uniform_ascends_inside_the_teacher_and_ends_at_its_end(num_student, num_teacher):
    theirs = [teacher for _, teacher in layer_pairs("uniform", num_student, num_teacher)]
    assert theirs == sorted(theirs)
    assert theirs[-1] == num_teacher - 1
    assert theirs[0] >= 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first", "--layer-map 'first': expected uniform, last, or pairs STUDENT:TEACHER of layers from 0"),
        ("", "expected uniform"),
        ("0:1,2", "expected uniform"),
        ("0:1,0:2", "names layer 0 of the student more than once"),
    ],
)
def test_refuses_syntax(text, message):
    with pytest.raises(UsageError) as error:
        check_syntax(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("4:1", "the student's layers are 0 to 3, not 4"), ("3:6", "the teacher's layers are 0 to 5, not 6")],
)
def test_refuses_layers_that_do_not_exist(text, message):
    with pytest.raises(UsageError) as error:
        layer_pairs(text, 4, 6)
    assert message in str(error.value)


SCORED = torch.tensor([[True, False, True], [False, False, True]])


def states(width, num_layers, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, width, generator=generator).requires_grad_() for _ in range(num_layers + 1)]


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_is_the_plain_formula_on_scored_positions(kind):
    ours, theirs, pairs = states(8, 2, 1), states(8, 4, 2), ((0, 1), (1, 3))
    loss = FeatureLoss(pairs, 8, 8, kind)
    assert list(loss.parameters()) == []
    found = loss(layer_rows(ours, [0, 1], SCORED), layer_rows(theirs, [1, 3], SCORED))
    expected = 0.0
    for student, teacher in pairs:
        for b, t in SCORED.nonzero().tolist():
            s, q = ours[student + 1][b, t].detach(), theirs[teacher + 1][b, t].detach()
            value = ((s - q) ** 2).mean() if kind == "mse" else 1 - s @ q / (s.norm() * q.norm())
            expected += value.item() / len(pairs)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert ours[1].grad[~SCORED].eq(0).all()
    assert ours[1].grad[SCORED].ne(0).all()
    assert all(state.grad is None for state in [ours[0], *theirs])


def test_other_widths_get_a_learned_projection():
    torch.manual_seed(0)
    ours, theirs = states(6, 1, 1), states(8, 1, 2)
    loss = FeatureLoss(((0, 0),), 6, 8)
    (weight,) = loss.parameters()
    assert weight.shape == (8, 6)
    student, teacher = layer_rows(ours, [0], SCORED), layer_rows(theirs, [0], SCORED)
    loss(student, teacher).backward()
    plain = F.mse_loss(ours[1][SCORED] @ weight.T, theirs[1][SCORED].detach(), reduction="sum") / 8
    (expected,) = torch.autograd.grad(plain, weight)
    torch.testing.assert_close(weight.grad, expected)
    assert ours[1].grad[SCORED].ne(0).all()


def test_the_same_states_are_at_distance_zero():
    ours = states(8, 2, 1)
    rows = layer_rows(ours, [0, 1], SCORED)
    assert FeatureLoss(((0, 0), (1, 1)), 8, 8, "mse")(rows, rows).item() == 0
    assert FeatureLoss(((0, 0), (1, 1)), 8, 8, "cosine")(rows, rows).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("width", [6, 8])
def test_half_precision_is_measured_in_float32(width):
    torch.manual_seed(0)
    ours, theirs, loss = states(width, 1, 1), states(8, 1, 2), FeatureLoss(((0, 0),), width, 8)
    exact = loss(layer_rows(ours, [0], SCORED), layer_rows(theirs, [0], SCORED))
    half = [state.detach().bfloat16() for state in ours], [state.detach().bfloat16() for state in theirs]
    found = loss(*(layer_rows(side, [0], SCORED) for side in half))
    with torch.autocast("cpu", torch.bfloat16):
        autocast = loss(layer_rows(ours, [0], SCORED), layer_rows(theirs, [0], SCORED))
    assert (found.dtype, autocast.dtype) == (torch.float32, torch.float32)
    assert found.item() == pytest.approx(exact.item(), rel=2e-2)
    assert autocast.item() == pytest.approx(exact.item(), rel=2e-2)
