import math
from types import SimpleNamespace

import pytest
import torch
from scipy.special import rel_entr
from torch import nn

from distill_eval.engine.hf import HFModel
from distill_eval.errors import ModelError
from distill_eval.quantize.harm import rank_units
from distill_eval.quantize.measure import closeness, layer_errors, swapped
from distill_eval.tell import in_silence

VOCAB, LENGTH = 11, 300
"""More rows than exist at once in float32."""


class Table:
    """Logits of a token are a row of a table."""

    vocab_size, max_length, tokenizer = VOCAB, 999, None

    def __init__(self, seed):
        self.rows_VV = torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(seed))

    def logits(self, ids_T):
        return self.rows_VV[torch.tensor(ids_T)]


def samples(num):
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, VOCAB, (LENGTH,), generator=generator) for _ in range(num)]


def test_closeness_is_what_scipy_says():
    ours, theirs, text = Table(0), Table(1), samples(3)
    found = closeness([ours.logits(ids.tolist()) for ids in text], theirs, text)
    p, q = (torch.cat([model.logits(ids.tolist()) for ids in text]).double().softmax(-1) for model in (ours, theirs))
    kl = rel_entr(p.numpy(), q.numpy()).sum(-1)
    assert found.num_tokens == 3 * LENGTH
    assert found.mean_kl == pytest.approx(kl.mean(), rel=1e-5)
    means = kl.reshape(3, LENGTH).mean(-1)
    assert found.stderr_kl == pytest.approx(means.std(ddof=1) / math.sqrt(3), rel=1e-5)
    assert found.top1_agreement == float((p.argmax(-1) == q.argmax(-1)).double().mean())
    for probs, perplexity in ((p, found.perplexity_original), (q, found.perplexity)):
        nats = [
            -math.log(float(probs[sample * LENGTH + place, token]))
            for sample, ids in enumerate(text)
            for place, token in enumerate(ids[1:].tolist())
        ]
        assert perplexity == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)


def test_a_model_is_no_distance_from_itself():
    text = samples(1)
    found = closeness([Table(0).logits(text[0].tolist())], Table(0), text)
    assert (found.mean_kl, found.top1_agreement, found.stderr_kl) == (0.0, 1.0, None)
    assert found.perplexity == found.perplexity_original


def test_logits_that_are_not_numbers_are_refused():
    text, broken = samples(1), Table(0)
    broken.rows_VV[3, 4] = torch.nan
    with pytest.raises(ModelError, match="the quantized model's logits are not numbers"):
        closeness([Table(0).logits(text[0].tolist())], broken, text)


class Two(nn.Module):
    """Two linear layers behind an embedding, and a head."""

    device = torch.device("cpu")
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=VOCAB))
    generation_config = SimpleNamespace(eos_token_id=None)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(VOCAB, 8), nn.Linear(8, VOCAB, bias=False)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, input_ids, **options):
        del options
        hidden = self.second(torch.relu(self.first(self.embed(input_ids))))
        return SimpleNamespace(logits=self.head(hidden))


def noisy(**amounts):
    model = Two()
    torch.manual_seed(5)
    with torch.no_grad():
        for name, amount in amounts.items():
            module = model.get_submodule(name)
            module.weight += amount * torch.randn_like(module.weight)
    return model


def test_a_layers_error_is_on_the_inputs_that_the_original_gives_it():
    original, quantized, text = Two(), noisy(first=0.3, second=0.01), samples(2)
    errors = layer_errors(original, quantized, ["second", "first"], text)
    assert [error.layer for error in errors] == ["first", "second"]
    inputs = original.embed(torch.cat(text)).detach()
    hidden = torch.relu(original.first(inputs)).detach()
    for error, values in zip(errors, (inputs, hidden), strict=True):
        mine, theirs = (model.get_submodule(error.layer)(values).detach() for model in (original, quantized))
        assert error.relative_error == pytest.approx(float((mine - theirs).norm() / mine.norm()), rel=1e-5)
        assert error.num_parameters == 64
    assert not original.first._forward_hooks


def test_a_layer_without_output_has_no_relative_error():
    silent = Two()
    nn.init.zeros_(silent.first.weight)
    nn.init.zeros_(silent.first.bias)
    assert layer_errors(silent, Two(), ["first"], samples(1))[0].relative_error is None


def test_swapped_layers_come_back():
    model, other = Two(), noisy(first=1.0)
    own = model.first
    with swapped(model, other, ["first"]):
        assert model.first is other.first
    assert model.first is own


def test_units_are_ranked_by_what_each_does_alone():
    original, quantized, text = Two(), noisy(first=0.02, second=0.5), samples(2)
    tokenizer = SimpleNamespace(eos_token_id=None)
    one = HFModel(original, tokenizer)
    harms = rank_units(one, HFModel(quantized, tokenizer), [("first",), ("second",)], text, in_silence)
    assert [harm.unit for harm in harms] == [("second",), ("first",)]
    for harm in harms:
        alone = noisy()
        alone.set_submodule(harm.unit[0], quantized.get_submodule(harm.unit[0]))
        expected = closeness((one.logits(ids.tolist()) for ids in text), HFModel(alone, tokenizer), text).mean_kl
        assert harm.mean_kl == pytest.approx(expected, rel=1e-6)
        assert harm.mean_kl > 0
