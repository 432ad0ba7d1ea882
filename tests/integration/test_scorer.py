"""SharedPrefixLM against lm-eval's own HFLM, on tiny models of every family."""

import random

import pytest
import torch
from fakes.tiny_families import CONFIGS, make_model, make_tokenizer
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPTNeoConfig,
    MambaConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from distill_eval.evaluate.harness.lm import Recorder, SharedPrefixLM

FEW_SHOT = "Some questions, with answers. What is first? The first. What is next? "
WORDS = ["the", "of", "bone", "heart", "first", "second", "who", "is", "where", "answer", "long", "way", "it"]


def requests(kind, num_docs=6, long=False):
    """Documents that share a preamble, with several options each; some longer than the context of 128 tokens."""
    draw = random.Random(0)

    def phrase(low, high):
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))

    made = []
    for doc in range(num_docs):
        context = (FEW_SHOT if doc % 3 else "") + phrase(1, 30 if long else 4)
        args = {
            "loglikelihood": [(context, " " + phrase(1, 2)) for _ in range(4)]
            + [("", phrase(1, 1)), (context + " ", "x")],
            "loglikelihood_rolling": [(phrase(1, 60),)],
            "generate_until": [(context, {"until": ["e", "  "], "max_gen_toks": 12})],
        }[kind]
        made += [Instance(kind, {}, arg, i, metadata=("t", doc, 1)) for i, arg in enumerate(args)]
    return made


def plain(model):
    return HFLM(pretrained=model, tokenizer=make_tokenizer(), batch_size=3)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("long", [False, True], ids=["fits", "truncated"])
def test_log_likelihoods_are_lm_evals(family, long):
    made = requests("loglikelihood", long=long)
    expected = plain(make_model(family)).loglikelihood(made, disable_tqdm=True)
    for batch_tokens in (16, 200, 10_000):
        lm = SharedPrefixLM(make_model(family), make_tokenizer(), batch_tokens=batch_tokens)
        found = lm.loglikelihood(made)
        assert lm.plain_reason is None
        assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-3)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


@pytest.mark.parametrize("family", CONFIGS)
def test_rolling_log_likelihoods_are_lm_evals(family):
    made = requests("loglikelihood_rolling")
    expected = plain(make_model(family)).loglikelihood_rolling(made, disable_tqdm=True)
    found = SharedPrefixLM(make_model(family), make_tokenizer(), batch_tokens=50).loglikelihood_rolling(made)
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("family", CONFIGS)
def test_generated_text_is_lm_evals(family):
    made = requests("generate_until")
    expected = plain(make_model(family)).generate_until(made, disable_tqdm=True)
    found = SharedPrefixLM(make_model(family), make_tokenizer()).generate_until(made)
    assert found == expected
    assert len(set(found)) > 1


def test_sampling_is_left_to_lm_eval():
    made = requests("generate_until", num_docs=2)
    for request in made:
        request.args[1].update(do_sample=True, temperature=1.0)
    texts = []
    for lm in (plain(make_model("llama")), SharedPrefixLM(make_model("llama"), make_tokenizer())):
        torch.manual_seed(0)
        texts.append(lm.generate_until(made))
    assert len(texts[0]) == len(texts[1]) == 2
    assert all(isinstance(text, str) for text in texts[1])


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until"])
def test_a_killed_run_goes_on_to_the_same_bits(kind):
    made = requests(kind)
    whole = SharedPrefixLM(make_model("llama"), make_tokenizer(), batch_tokens=64)
    expected = getattr(whole, kind)(made)

    class KilledError(Exception):
        pass

    for survivors in range(3):
        kept, calls = {}, 0

        def die_later(responses, kept=kept, survivors=survivors):
            nonlocal calls
            if calls > survivors:
                raise KilledError
            calls += 1
            kept.update(responses)

        first = SharedPrefixLM(make_model("llama"), make_tokenizer(), batch_tokens=64)
        first.recorder = Recorder(on_responses=die_later)
        try:
            getattr(first, kind)(made)
        except KilledError:
            assert len(kept) < len(made)
        second = SharedPrefixLM(make_model("llama"), make_tokenizer(), batch_tokens=64)
        second.recorder = Recorder(done=dict(kept))
        assert getattr(second, kind)(made) == expected


UNSHARABLE = {
    "bloom": lambda: AutoModelForCausalLM.from_config(BloomConfig(vocab_size=260, hidden_size=32, n_layer=2, n_head=2)),
    "gpt-neo": lambda: AutoModelForCausalLM.from_config(
        GPTNeoConfig(
            vocab_size=260,
            hidden_size=32,
            num_layers=2,
            num_heads=2,
            attention_types=[[["global", "local"], 1]],
            window_size=8,
        )
    ),
    "mamba": lambda: AutoModelForCausalLM.from_config(MambaConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=260, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
    ),
}


@pytest.mark.parametrize("family", UNSHARABLE)
def test_a_model_that_cannot_share_is_found_and_scored_plainly(family):
    torch.manual_seed(0)
    model = UNSHARABLE[family]().eval()
    made = requests("loglikelihood", num_docs=2)
    lm = SharedPrefixLM(model, make_tokenizer())
    found = lm.loglikelihood(made)
    assert lm.plain_reason
    expected = plain(model).loglikelihood(made, disable_tqdm=True)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-3)


def test_a_custom_attention_that_lies_is_found_by_its_numbers():
    """Structure promises plain causal attention, the numbers disagree: the plain path must run and say why."""
    model = make_model("llama")
    body, forward = model.model, model.model.forward

    def biased(*args, **kwargs):
        output = forward(*args, **kwargs)
        if kwargs["position_ids"] is not None and not kwargs["position_ids"].diff().eq(1).all():
            output.last_hidden_state = output.last_hidden_state * 1.01  # depends on the packing
        return output

    body.forward = biased
    lm = SharedPrefixLM(model, make_tokenizer())
    made = requests("loglikelihood", num_docs=2)
    found = lm.loglikelihood(made)
    assert "own forward pass" in lm.plain_reason
    expected = plain(make_model("llama")).loglikelihood(made, disable_tqdm=True)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-3)
