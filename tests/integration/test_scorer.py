"""SharedPrefixLM against lm-eval's own HFLM, on tiny models of every family."""

import math
import random

import lm_eval
import pytest
import torch
from fakes.tiny_families import CONFIGS, longrope, make_model, make_tokenizer
from fakes.tiny_tasks import write_tasks
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

from distill_eval.errors import ModelError
from distill_eval.evaluate.harness.lm import PLAIN_CHUNK, SharedPrefixLM
from distill_eval.evaluate.harness.requests import Recorder
from distill_eval.evaluate.scorer.linear import can_prepack, prepack

FEW_SHOT = "Some questions, with answers. What is first? The first. What is next? "
WORDS = ["the", "of", "bone", "heart", "first", "second", "who", "is", "where", "answer", "long", "way", "it"]


def requests(kind, num_docs=6, long=False, lead="", **settings):
    """Documents that share a preamble, with several options each; the `long` ones exceed the context of 128 tokens."""
    draw = random.Random(0)

    def phrase(low, high):
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))

    made = []
    for doc in range(num_docs):
        context = lead + (FEW_SHOT if doc % 3 else "") + phrase(1, 30 if long else 4)
        args = {
            "loglikelihood": [(context, " " + phrase(1, 2)) for _ in range(4)]
            + [("", phrase(1, 1)), (context + " ", "x")],
            "loglikelihood_rolling": [(lead + phrase(1, 60),)],
            "generate_until": [(context, {"until": ["e", "  "], "max_gen_toks": 12, **settings})],
        }[kind]
        made += [Instance(kind, {}, arg, i, metadata=("t", doc, 1)) for i, arg in enumerate(args)]
    return made


def plain(model, tokenizer=None, batch_size=3):
    return HFLM(pretrained=model, tokenizer=tokenizer or make_tokenizer(), batch_size=batch_size)


def assert_equal(found, expected):
    """Log-likelihoods within the tolerance, and the same greedy flags; or the same texts."""
    if isinstance(expected[0], tuple):
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        found, expected = ([score for score, _ in answers] for answers in (found, expected))
    assert found == (expected if isinstance(expected[0], str) else pytest.approx(expected, abs=1e-3))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("long", [False, True], ids=["fits", "truncated"])
def test_log_likelihoods_are_lm_evals(family, long):
    made = requests("loglikelihood", long=long)
    expected = plain(make_model(family)).loglikelihood(made, disable_tqdm=True)
    for batch_tokens in (16, 200, 10_000):
        lm = SharedPrefixLM(make_model(family), make_tokenizer(), batch_tokens=batch_tokens)
        found = lm.loglikelihood(made)
        assert lm.plain_reason is None
        assert_equal(found, expected)


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


@pytest.mark.parametrize("lead", ["", "<bos>"])
@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until"])
@pytest.mark.parametrize("long", [False, True], ids=["fits", "truncated"])
def test_a_tokenizer_that_begins_each_text_with_a_token(kind, long, lead):
    """As LLaMA's and Gemma's do, except when the text has that token already (a chat template's)."""
    tokenizer = make_tokenizer(add_bos=True)
    assert tokenizer.encode("a")[0] == tokenizer.bos_token_id
    made = requests(kind, long=long, lead=lead)
    expected = getattr(plain(make_model("llama"), tokenizer), kind)(made, disable_tqdm=True)
    assert_equal(getattr(SharedPrefixLM(make_model("llama"), tokenizer, batch_tokens=200), kind)(made), expected)


def test_sampling_is_left_to_lm_eval():
    made = requests("generate_until", do_sample=True, temperature=1.0)
    own = plain(make_model("llama"), batch_size=8)
    torch.manual_seed(1234)
    expected = own.generate_until(made, disable_tqdm=True)
    lm = SharedPrefixLM(make_model("llama"), make_tokenizer(), seed=1234)
    assert lm.generate_until(made) == expected
    assert lm.generate_until(made) == expected, "whatever was drawn before"
    lm = SharedPrefixLM(make_model("llama"), make_tokenizer(), seed=5)
    assert lm.generate_until(made) != expected


def test_sampling_goes_on_as_it_would_have():
    made = requests("generate_until", num_docs=PLAIN_CHUNK, do_sample=True, temperature=1.0, max_gen_toks=3) * 2
    lm = SharedPrefixLM(make_model("llama"), make_tokenizer())
    expected = lm.generate_until(made)
    assert expected[:PLAIN_CHUNK] != expected[PLAIN_CHUNK:], "a repeated document is drawn anew"
    lm.recorder = Recorder(done=dict(enumerate(expected[:PLAIN_CHUNK])))
    assert lm.generate_until(made) == expected


def test_a_models_own_number_of_new_tokens_counts_as_in_lm_eval():
    made = requests("generate_until")
    models = make_model("llama"), make_model("llama")
    for model in models:
        model.generation_config.max_new_tokens = 2
    expected = plain(models[0]).generate_until(made, disable_tqdm=True)
    assert max(map(len, expected)) <= 2
    assert SharedPrefixLM(models[1], make_tokenizer()).generate_until(made) == expected


@pytest.mark.parametrize("do_sample", [False, True])
def test_a_request_whose_logits_are_not_numbers_is_named(do_sample):
    model = make_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight[make_tokenizer().encode("Z")] = math.nan
    made = requests("generate_until", do_sample=do_sample, temperature=float(do_sample), max_gen_toks=1)
    context, settings = made[4].args
    made[4].arguments = (f"Z {context}", settings)
    lm = SharedPrefixLM(model, make_tokenizer())
    heard = []
    lm.recorder = Recorder(on_responses=heard.append)
    with pytest.raises(ModelError, match="logits for request 4 are not numbers"):
        lm.generate_until(made)
    assert list(heard[-1]) == [4]
    assert math.isnan(heard[-1][4])
    assert all(isinstance(text, str) for text in lm.generate_until(made[:4]))


@pytest.mark.parametrize("scorer", ["prefix", "plain"])
def test_what_cannot_fit_the_context_is_refused(scorer):
    lm = SharedPrefixLM(make_model("llama"), make_tokenizer(), scorer=scorer)
    long = Instance("loglikelihood", {}, ("is", " x" * 65), 0, metadata=("t", 0, 1))
    with pytest.raises(ModelError, match=r"130 tokens after 2, where the model's context holds 128"):
        lm.loglikelihood([long])
    with pytest.raises(ModelError, match=r"'': 0 tokens after 2"):
        lm.loglikelihood([Instance("loglikelihood", {}, ("is", ""), 0, metadata=("t", 0, 1))])
    with pytest.raises(ModelError, match=r"t asks for 128 new tokens, but the model's context holds 128"):
        lm.generate_until(requests("generate_until", max_gen_toks=128))


def test_it_is_an_lm_like_any_other(tmp_path):
    """Several calls without a recorder, as lm-eval makes them."""
    names = ["tiny_mc", "tiny_cloze", "tiny_text", "tiny_gen"]
    folder = write_tasks(tmp_path / "tasks", num_docs=5)
    manager = lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False)
    found, expected = (
        lm_eval.simple_evaluate(lm, tasks=names, task_manager=manager, bootstrap_iters=0)
        for lm in (SharedPrefixLM(make_model("llama"), make_tokenizer()), plain(make_model("llama")))
    )
    for name in names:
        for metric, value in expected["results"][name].items():
            assert found["results"][name][metric] == (
                pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            )
    assert found["config"]["model_num_parameters"] == expected["config"]["model_num_parameters"]


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until"])
def test_weights_are_packed_whatever_comes_first(kind):
    model = make_model("llama")
    assert can_prepack(model)
    lm = SharedPrefixLM(model, make_tokenizer())
    getattr(lm, kind)(requests(kind, num_docs=1))
    assert prepack(model) == 0, "none is left"
    made = requests("loglikelihood")
    expected = plain(make_model("llama")).loglikelihood(made, disable_tqdm=True)
    assert_equal(SharedPrefixLM(model, make_tokenizer()).loglikelihood(made), expected)


def test_lm_evals_own_path_keeps_the_weights():
    model = make_model("llama")
    SharedPrefixLM(model, make_tokenizer(), scorer="plain").loglikelihood(requests("loglikelihood", num_docs=1))
    assert prepack(model) == 6 * 7 + 1


class Detecting(SharedPrefixLM):
    """Counts how often the largest batch size is looked for, and for how many tokens."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.batch_size_per_gpu, self.lengths = "auto", []

    def _detect_batch_size(self, requests=None, pos=0):
        self.lengths.append(sum(map(len, requests[pos][1:])) if requests else self.max_length)
        return 5


def test_the_largest_batch_size_is_looked_for_once_per_call():
    lm = Detecting(make_model("llama"), make_tokenizer(), scorer="plain")
    made = requests("loglikelihood", num_docs=PLAIN_CHUNK // 4)
    expected = plain(make_model("llama")).loglikelihood(made, disable_tqdm=True)
    assert len(made) > PLAIN_CHUNK
    assert_equal(lm.loglikelihood(made), expected)
    lm.loglikelihood_rolling(requests("loglikelihood_rolling", num_docs=2))
    lm.generate_until(requests("generate_until", num_docs=2))
    longest = max(len("".join(request.args)) for request in made)
    assert lm.lengths == [longest, 128, 128]
    assert lm.batch_size == "auto"


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


LIMIT = 116


def test_a_reason_of_length_holds_for_its_call_alone():
    """Phi-3.5: beyond its original length a row has other angles, so rows of one batch would change each other."""
    lm = SharedPrefixLM(make_model(longrope(LIMIT)), make_tokenizer())
    own = plain(make_model(longrope(LIMIT)), batch_size=1)
    for kind in ("loglikelihood", "generate_until", "loglikelihood_rolling"):
        for long in (False, True, False):
            made = requests(kind, long=long)
            if kind == "loglikelihood_rolling" and not long:
                made = [request for request in made if len(request.args[0]) < LIMIT]
                assert made
            expected = getattr(own, kind)(made, disable_tqdm=True)
            assert_equal(getattr(lm, kind)(made), expected)
            assert (lm.plain_reason is None) is not long
            assert not long or f"beyond {LIMIT} tokens" in lm.plain_reason


def test_a_longer_request_than_any_before_is_checked_again():
    model = make_model("llama")
    body, forward = model.model, model.model.forward

    def biased(*args, **kwargs):
        output = forward(*args, **kwargs)
        positions = kwargs["position_ids"]
        if positions is not None and positions.max() >= LIMIT and not positions.diff().eq(1).all():
            output.last_hidden_state = output.last_hidden_state * 1.01  # depends on the packing, of long rows alone
        return output

    body.forward = biased
    lm = SharedPrefixLM(model, make_tokenizer())
    for long in (False, True, False):
        made = requests("loglikelihood", long=long)
        assert_equal(lm.loglikelihood(made), plain(make_model("llama")).loglikelihood(made, disable_tqdm=True))
        assert (lm.plain_reason is None) is not long
