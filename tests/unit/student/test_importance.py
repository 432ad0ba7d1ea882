import copy
import math

import pytest
import torch
import torch.nn.functional as F
from fakes.tiny_teachers import CAUSAL, CLASSIFIERS, NUM_LAYERS, TEACHERS, kind, make_teacher

from distill_eval.errors import ModelError, UsageError
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.count import label_tensors
from distill_eval.student.depth import drop_layers, find_layers
from distill_eval.student.importance import measure_importance, measure_removals
from distill_eval.student.loss import measure_loss, require_answers
from distill_eval.student.shape import read_shape

SAMPLES = [torch.randint(2, 250, (length,), generator=torch.Generator().manual_seed(length)) for length in (20, 31, 20)]
IDLE = 2


def measured(model, family):
    architecture = ARCHITECTURES[type(model).__name__]
    return measure_importance(model, SAMPLES, kind(family), architecture, read_shape(model.config, architecture))


@pytest.mark.parametrize("family", CAUSAL)
def test_a_language_models_loss_is_the_mean_over_tokens(family):
    model = make_teacher(family)
    loss = measure_loss(model, SAMPLES, "causal")
    with torch.no_grad():
        summed = [float(model(ids[None], labels=ids[None]).loss) * (len(ids) - 1) for ids in SAMPLES]
    assert loss.num_scored == 19 + 30 + 19
    assert loss.mean == pytest.approx(sum(summed) / 68, rel=1e-5)
    assert loss.answers_L == []


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_a_classifiers_loss_is_how_far_it_is_from_its_teacher(family):
    teacher, student = make_teacher(family), make_teacher(family, seed=1)
    own = measure_loss(teacher, SAMPLES, "classifier")
    assert (own.mean, own.num_scored, len(own.answers_L)) == (0.0, 3, 3)
    loss = measure_loss(student, SAMPLES, "classifier", own.answers_L)
    with torch.no_grad():
        kl = [
            F.kl_div(student(ids[None]).logits.log_softmax(-1), teacher(ids[None]).logits.softmax(-1), reduction="sum")
            for ids in SAMPLES
        ]
    assert loss.mean == pytest.approx(float(sum(kl)) / 3, rel=1e-4)
    assert loss.mean > 0.001


def test_a_loss_that_is_not_a_number_is_refused():
    model = make_teacher("llama")
    with torch.no_grad():
        model.model.norm.weight.fill_(math.inf)
    with pytest.raises(ModelError, match="the loss of LlamaForCausalLM on the calibration text is nan: not a number"):
        measure_loss(model, SAMPLES, "causal")


def test_regression_has_no_answers():
    config = make_teacher("bert").config
    require_answers(config, "classifier")
    config.num_labels = 1
    with pytest.raises(UsageError, match=r"gives 1 labels \(None\)"):
        require_answers(config, "classifier")
    config.num_labels, config.problem_type = 3, "multi_label_classification"
    with pytest.raises(UsageError, match=r"gives 3 labels \(multi_label_classification\)"):
        require_answers(config, "classifier")


@pytest.mark.parametrize("family", TEACHERS)
def test_block_influence_is_one_minus_the_cosine(family):
    model = make_teacher(family)
    seen = measured(model, family)
    entering = {index: [] for index in range(NUM_LAYERS)}
    leaving = {index: [] for index in range(NUM_LAYERS)}
    for index, layer in enumerate(find_layers(model)[1]):
        layer.register_forward_pre_hook(lambda module, args, index=index: entering[index].append(args[0][0]))
        layer.register_forward_hook(lambda module, args, output, index=index: leaving[index].append(output[0]))
    with torch.no_grad():
        for ids in SAMPLES:
            model(ids[None])
    for index in range(NUM_LAYERS):
        per_sample = [
            float((1 - (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))).mean())
            for x, y in zip(entering[index], leaving[index], strict=True)
        ]
        assert seen.influence[index] == pytest.approx(sum(per_sample) / 3, abs=1e-5)
    assert seen.loss.mean == pytest.approx(measure_loss(model, SAMPLES, kind(family)).mean, rel=1e-9)


@pytest.mark.parametrize("family", TEACHERS)
def test_a_removal_costs_what_dropping_the_layer_costs(family):
    model = make_teacher(family)
    base = measure_loss(model, SAMPLES, kind(family))
    rises = measure_removals(model, SAMPLES, kind(family), base)
    assert len(rises) == NUM_LAYERS
    for index in (0, 3, 5):
        without = copy.deepcopy(model)
        drop_layers(without, tuple(layer for layer in range(NUM_LAYERS) if layer != index))
        loss = measure_loss(without, SAMPLES, kind(family), base.answers_L)
        assert rises[index] == pytest.approx(loss.mean - base.mean, abs=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_activations_by_hand():
    """Mean over tokens of the absolute activation, root mean square over samples."""
    model = make_teacher("llama")
    seen = measured(model, "llama")
    neurons, heads, norms = [], [], []
    layer = model.model.layers[3]
    layer.mlp.down_proj.register_forward_pre_hook(lambda module, args: neurons.append(args[0][0]))
    layer.self_attn.o_proj.register_forward_pre_hook(lambda module, args: heads.append(args[0][0]))
    for module in model.modules():
        if "Norm" in type(module).__name__:
            module.register_forward_hook(lambda module, args, output: norms.append(output[0]))
    with torch.no_grad():
        for ids in SAMPLES:
            model(ids[None])

    def over_samples(means):
        return torch.stack(means).double().square().mean(0).sqrt()

    close = {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(
        seen.channels["ffn", 3], over_samples([values.abs().mean(0) for values in neurons]), **close
    )
    groups = [values.view(-1, 2, 2, 8).norm(dim=-1).mean((0, 2)) for values in heads]
    torch.testing.assert_close(seen.channels["heads", 3], over_samples(groups), **close)
    each = len(norms) // 3
    assert each == 2 * NUM_LAYERS + 1
    hidden = [torch.stack(norms[each * i : each * (i + 1)]).abs().mean((0, 1)) for i in range(3)]
    torch.testing.assert_close(seen.channels["hidden", None], over_samples(hidden), **close)


def is_norm(tensor):
    return tensor.axes == ("hidden",) and any(word in tensor.name.lower() for word in ("norm", ".ln_"))


def output_axis(tensor, family):
    """The axis that a tensor produces: a Linear stores it first, GPT-2's layers last."""
    stored_last = family == "gpt2" and tensor.layer is not None
    return tensor.axes[-1] if stored_last else tensor.axes[0]


def plant(model, family):
    """One layer adds next to nothing to what it gets, and in all layers two neurons are never active."""
    with torch.no_grad():
        for tensor in label_tensors(model, ARCHITECTURES[type(model).__name__]):
            values, output = tensor.parameter, output_axis(tensor, family)
            if output == "ffn":
                values.index_fill_(tensor.axes.index("ffn"), torch.tensor([3, 40]), 0)
            if is_norm(tensor) and family in CLASSIFIERS:  # they follow the addition: a plain norm of a norm is itself
                values.fill_(1.0 if tensor.name.endswith("weight") else 0.0)
            elif is_norm(tensor) and tensor.layer == IDLE and "post_" in tensor.name and family == "gemma3":
                values.fill_(-1.0)  # it follows the layer's output, and multiplies by 1 + weight
            elif tensor.layer == IDLE and output == "hidden" and not is_norm(tensor):
                values.mul_(1e-4)


@pytest.mark.parametrize("family", TEACHERS)
def test_a_planted_layer_and_planted_neurons_are_found(family):
    model = make_teacher(family)
    plant(model, family)
    seen = measured(model, family)
    assert min(range(NUM_LAYERS), key=lambda layer: seen.influence[layer]) == IDLE
    assert seen.influence[IDLE] < 0.01
    rises = measure_removals(model, SAMPLES, kind(family), seen.loss)
    assert min(range(NUM_LAYERS), key=lambda layer: abs(rises[layer])) == IDLE
    for layer in range(NUM_LAYERS):
        importance = seen.channels["ffn", layer]
        assert importance[3] == importance[40] == 0
        assert (importance > 0).sum() > 40  # OPT's ReLU leaves others without activity too


@pytest.mark.parametrize("family", TEACHERS)
def test_planted_heads_and_channels_are_found(family):
    model = make_teacher(family)
    architecture = ARCHITECTURES[type(model).__name__]
    silent = -1.0 if family == "gemma3" else 0.0
    with torch.no_grad():
        for tensor in label_tensors(model, architecture):
            name, values = tensor.name, tensor.parameter
            if is_norm(tensor):
                values[7] = silent if name.endswith("weight") else 0.0
            if ".v_" in name or ".value" in name:
                values[8:16] = 0  # the second head, or KV group
            if "c_attn" in name:
                values[..., 64 + 8 : 64 + 16] = 0
            if "query_key_value" in name:
                values.view(4, 3, 8, *values.shape[1:])[1, 2] = 0
            if "pooler" in name or "pre_classifier" in name or "classifier.dense" in name:
                values[9] = 0
    seen = measured(model, family)
    assert seen.channels["hidden", None].argmin() == 7
    for layer in range(NUM_LAYERS):
        assert seen.channels["heads", layer].argmin() == 1
        assert seen.channels["heads", layer][1] == 0
    if family in CLASSIFIERS:
        assert seen.channels["pooled", None][9] == 0
        assert (seen.channels["pooled", None] > 0).sum() > 10
    assert (("pooled", None) in seen.channels) == (family in CLASSIFIERS)


def test_hooks_are_gone_afterwards_and_unknown_models_have_no_channels():
    model = make_teacher("mistral")
    seen = measure_importance(model, SAMPLES, "causal", None, None)
    assert seen.channels == {}
    assert len(seen.influence) == NUM_LAYERS
    assert not any(module._forward_hooks for module in model.modules())
