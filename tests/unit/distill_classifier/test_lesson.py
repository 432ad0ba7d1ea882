"""The loss of a classifier against the plain formula, and its gradients."""

import pytest
import torch
import torch.nn.functional as F
from fakes.tiny_classifiers import bert, distilbert
from transformers import AutoModelForSequenceClassification

from distill_eval.distill.classifier.lesson import ClassifierLesson, validate_teacher
from distill_eval.distill.classifier.signal import ClassifierSignal
from distill_eval.distill.features import FeatureLoss
from distill_eval.distill.objective import InnerLosses

ALPHA, T = 0.7, 2.0


def classifier(config, seed):
    torch.manual_seed(seed)
    config.num_labels = 3
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return model


@pytest.fixture
def batch():
    torch.manual_seed(3)
    sizes = torch.tensor([4, 7, 2, 5])
    return {
        "input_ids": torch.randint(4, 20, (4, 7)),
        "attention_mask": (torch.arange(7) < sizes[:, None]).long(),
        "shift_labels": torch.tensor([0, 2, 1, 2]),
    }


def logits(model, batch):
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


def plain_divergence(name, p, q):
    """D(teacher q, student p) of softened probabilities [B, L], per text."""
    kl = {
        "forward_kl": (q, p),
        "reverse_kl": (p, q),
    }
    if name in kl:
        a, b = kl[name]
        return (a * (a / b).log()).sum(-1)
    if name == "tv":
        return (p - q).abs().sum(-1) / 2
    mixture = 0.3 * q + 0.7 * p
    return 0.3 * (q * (q / mixture).log()).sum(-1) + 0.7 * (p * (p / mixture).log()).sum(-1)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd", "tv"])
@pytest.mark.parametrize("family", [bert, distilbert])
def test_the_loss_and_its_gradients_are_those_of_the_plain_formula(name, family, batch):
    student, teacher = classifier(family(2), 0), classifier(family(3), 1)
    order = (2, 0, 1)
    ours = logits(student, batch)
    theirs = logits(teacher, batch).detach()[:, list(order)]
    soft = plain_divergence(name, (ours / T).softmax(-1), (theirs / T).softmax(-1)).sum()
    hard = F.cross_entropy(ours, batch["shift_labels"], reduction="sum")
    expected = (ALPHA * T**2 * soft + (1 - ALPHA) * hard) / 8  # this micro-batch is half of an accumulated batch
    gradients = torch.autograd.grad(expected, list(student.parameters()), allow_unused=True)

    signal = ClassifierSignal([teacher], [1.0], orders=[order])
    lesson = ClassifierLesson(student, signal, divergence=name, temperature=T, beta=0.3)
    found = lesson(student, batch, alpha=ALPHA, denominator=8)
    assert found.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.parts["soft_loss"].item() == pytest.approx(soft.item() / 8, rel=1e-5)
    assert found.parts["hard_loss"].item() == pytest.approx(hard.item() / 8, rel=1e-5)
    found.loss.backward()
    for parameter, gradient in zip(student.parameters(), gradients, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_several_teachers_are_mixed_by_their_probabilities(batch):
    student, teachers = classifier(bert(2), 0), [classifier(bert(2), seed) for seed in (1, 2)]
    signal = ClassifierSignal(teachers, [0.25, 0.75], orders=[(0, 1, 2), (1, 2, 0)])
    lesson = ClassifierLesson(student, signal, divergence="forward_kl", temperature=T, beta=0.5)
    first, second = (logits(teacher, batch).detach() / T for teacher in teachers)
    mixed = 0.25 * first.softmax(-1) + 0.75 * second[:, [1, 2, 0]].softmax(-1)
    found = lesson(student, batch, alpha=1.0, denominator=4)
    lesson.detach()
    p = (logits(student, batch) / T).softmax(-1)
    assert found.loss.item() == pytest.approx(T**2 * plain_divergence("forward_kl", p, mixed).mean().item(), rel=1e-5)


def test_hidden_states_are_compared_over_all_tokens_and_no_padding(batch):
    student, teacher = classifier(bert(2), 0), classifier(bert(4), 1)
    pairs = ((0, 1), (1, 3))
    states = [
        model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
        ).hidden_states
        for model in (student, teacher)
    ]
    keep = batch["attention_mask"].bool()
    apart = [
        (states[0][ours + 1][keep] - states[1][theirs + 1][keep]).square().mean(-1).sum() for ours, theirs in pairs
    ]
    signal = ClassifierSignal([teacher], [1.0], orders=[(0, 1, 2)], feature_layers=[1, 3])
    inner = InnerLosses(pairs, 0.5, FeatureLoss(pairs, 32, 32))
    lesson = ClassifierLesson(student, signal, divergence="forward_kl", temperature=T, beta=0.5, inner=inner)
    lesson.num_positions = torch.tensor(36)  # 18 tokens here and as many in the other micro-batch
    found = lesson(student, batch, alpha=0.0, denominator=8)
    assert found.parts["feature_loss"].item() == pytest.approx((sum(apart) / 2 / 36).item(), rel=1e-5)
    whole = found.parts["hard_loss"] + 0.5 * found.parts["feature_loss"]
    assert found.loss.item() == pytest.approx(whole.item(), rel=1e-5)


def test_validation_measures_both_models_on_all_batches(batch):
    student, teacher = classifier(bert(2), 0), classifier(bert(3), 1)
    order = (1, 2, 0)
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 1), slice(1, 4))]
    ours, theirs = logits(student, batch), logits(teacher, batch)[:, list(order)]
    signal = ClassifierSignal([teacher], [1.0], orders=[order])
    lesson = ClassifierLesson(student, signal, divergence="tv", temperature=T, beta=0.5)
    found = lesson.validate(halves)
    assert found.num_tokens == 4
    assert found.hard_loss == pytest.approx(F.cross_entropy(ours, batch["shift_labels"]).item(), rel=1e-5)
    assert found.accuracy == (ours.argmax(-1) == batch["shift_labels"]).float().mean().item()
    assert found.top1_agreement == (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item()
    kl = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="batchmean")
    assert found.kl == pytest.approx(kl.item(), rel=1e-4)
    soft = (theirs / T).softmax(-1)
    assert found.teacher_entropy == pytest.approx(-(soft * soft.log()).sum(-1).mean().item(), rel=1e-5)
    alone = validate_teacher(teacher, halves, order=order)
    assert alone.hard_loss == pytest.approx(F.cross_entropy(theirs, batch["shift_labels"]).item(), rel=1e-5)
    assert alone.kl is None
