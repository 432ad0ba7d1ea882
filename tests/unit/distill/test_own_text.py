"""The student's own text: which prompts it continues, what it samples, where it ends, and what is scored."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes.tiny_families import make_model

from distill_eval.distill.blocks import IGNORED, Collator
from distill_eval.distill.lesson import TextLesson
from distill_eval.distill.on_policy_config import OnPolicyConfig
from distill_eval.distill.own_text import Draw, OwnText, Prompt, end_ids, find_prompts
from distill_eval.errors import UsageError

EOS = 257
X = IGNORED


def row(*windows, index=0):
    """Windows of (ids, shifted labels)."""
    ids = [token for window, _ in windows for token in window]
    return {
        "input_ids": torch.tensor(ids),
        "position_ids": torch.cat([torch.arange(len(window)) for window, _ in windows]),
        "shift_labels": torch.tensor([label for _, labels in windows for label in labels]),
        "index": torch.tensor(index),
    }


def text(*ids):
    return ids, (*ids[1:], X)


def writer(model, *, max_length=32, seed=0, **options):
    model.__dict__.pop("forward", None)  # an earlier lesson's
    lesson = TextLesson(model, None, divergence="forward_kl", temperature=1.0, beta=0.5)
    config = OnPolicyConfig(**{"on_policy": 1.0, "max_new_tokens": 12} | options)
    return OwnText(lesson, config, seed=seed, max_length=max_length, pad_id=EOS, end_ids=[EOS])


# ---- prompts


def test_a_text_is_continued_from_its_beginning_and_from_half_of_it_at_most():
    long, short = text(*range(20)), text(1, 2, 3, 4)
    found = find_prompts(row(long, short), prompt_length=6, max_length=64)
    assert found == [Prompt(0, 6), Prompt(20, 21)]  # 3 predictions in the short one


def test_a_conversation_is_continued_behind_the_prompt_of_each_answer():
    turns = ((1, 2, 3, 4, 5, 6, 7, 8), (X, X, 4, 5, X, X, 8, X))  # answers: 4 5, and 8
    assert find_prompts(row(turns), prompt_length=2, max_length=64) == [Prompt(0, 3), Prompt(0, 7)]


def test_a_window_that_begins_inside_an_answer_is_a_text_and_padding_is_nothing():
    inside = ((1, 2, 3, 4, 5, 6), (2, 3, 4, X, X, 9))
    padding = ((0, 0, 0), (X, X, X))
    assert find_prompts(row(inside, padding), prompt_length=9, max_length=64) == [Prompt(0, 3), Prompt(0, 6)]
    assert find_prompts(row(inside), prompt_length=9, max_length=6) == [Prompt(0, 3)]  # no room behind the other
    assert find_prompts(row(padding), prompt_length=9, max_length=6) == []


def test_the_room_of_a_padded_row_is_that_of_its_text():
    rows = [row(text(*range(8)), index=0), row(text(*range(30)), index=1)]
    batch = Collator("none", 0)(rows)
    padded = {name: values[0] for name, values in batch.items()}
    assert find_prompts(padded, prompt_length=64, max_length=64) == [Prompt(0, 3)]


# ---- sampling


def test_a_uniform_number_draws_each_token_with_its_probability():
    logits = torch.tensor([[1.0, -2.0, 0.5, 0.0]])
    uniform = torch.arange(20_000, dtype=torch.float64)[:, None] / 20_000
    for temperature in (1.0, 0.5):
        scores = Draw(uniform, temperature)(torch.zeros(20_000, 3), logits.expand(20_000, -1))
        assert scores.isfinite().sum(-1).eq(1).all()
        share = scores.argmax(-1).bincount(minlength=4) / 20_000
        assert share == pytest.approx((logits[0] / temperature).softmax(-1), abs=1e-4)


def test_the_continuation_is_what_the_model_says_token_by_token():
    model = make_model("llama", seed=3)
    own = writer(model, seed=5, sampling_temperature=0.7)
    source = row(text(*range(40, 60)), index=4)
    [length] = own.write(Collator("isolated", EOS)([source]), step=9).lengths
    made = own.write(Collator("isolated", EOS)([source]), step=9).batch
    prompt = source["input_ids"][:9]  # half of 19 predictions
    random = np.random.default_rng([5, 9, 5])
    random.integers(1)
    numbers, ids = random.random(12), prompt
    model.__dict__.pop("forward")
    for number in numbers:
        with torch.no_grad():
            probs = (model(ids[None]).logits[0, -1] / 0.7).softmax(-1).double()
        ids = torch.cat([ids, torch.searchsorted(probs.cumsum(0), number)[None]])
        if ids[-1] == EOS:
            break
    assert made["input_ids"][0].tolist() == ids[:-1].tolist()
    assert made["shift_labels"][0].tolist() == [X] * 8 + ids[9:].tolist()
    assert length == len(ids) - 9


def test_what_is_written_depends_on_seed_step_and_row_and_not_on_the_batch():
    model = make_model("llama", seed=3)
    rows = [row(text(*range(10 * n, 10 * n + 6 + 3 * n)), index=n) for n in range(4)]
    collate = Collator("isolated", EOS)

    def lines(own, rows, step):
        batch = own.write(collate(rows), step).batch
        return [batch["input_ids"][n][batch["attention_mask"][n].bool()].tolist() for n in range(len(rows))]

    own = writer(model)
    state = torch.get_rng_state()
    whole = lines(own, rows, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert [line for part in rows for line in lines(own, [part], 1)] == whole
    assert lines(own, rows, 2) != whole
    assert lines(writer(model, seed=1), rows, 1) != whole
    assert [own.is_chosen(step) for step in range(5)] == [True] * 5
    half = writer(model, on_policy=0.5)
    chosen = [half.is_chosen(step) for step in range(400)]
    assert chosen == [writer(model, on_policy=0.5).is_chosen(step) for step in range(400)]
    assert 160 < sum(chosen) < 240


def test_it_ends_at_the_first_end_of_text_which_is_scored_and_at_the_end_of_the_row():
    model = make_model("llama", seed=3)
    rows = [row(text(*range(20)), index=n) for n in range(6)]
    with torch.no_grad():  # every other token is an end, so that some lines end early
        model.lm_head.weight[EOS] = model.lm_head.weight.abs().max() * torch.sign(model.lm_head.weight[EOS])
    own = writer(model, max_length=14)
    written = own.write(Collator("isolated", EOS)(rows), 0)
    labels, mask = written.batch["shift_labels"], written.batch["attention_mask"].bool()
    assert min(written.lengths) < 5 == max(written.lengths)  # 14 of the row, less 9 of the prompt
    for line, kept, length in zip(labels, mask, written.lengths, strict=True):
        scored = line[line != X]
        assert len(scored) == length
        assert EOS not in scored[:-1]
        assert (scored[-1] == EOS) or length == 5
        assert kept.sum() == 9 + length - 1
        assert (line[~kept] == X).all()


def test_a_row_without_a_prompt_scores_nothing():
    rows = [row(((1, 2), (X, X)), index=0), row(text(1, 2, 3, 4, 5), index=1)]
    written = writer(make_model("llama", seed=3)).write(Collator("isolated", EOS)(rows), 0)
    assert written.lengths[0] == 0 < written.lengths[1]
    assert (written.batch["shift_labels"][0] == X).all()
    assert written.batch["index"].tolist() == [0, 1]


def test_the_student_is_left_as_it_was_and_its_habits_do_not_count():
    model = make_model("llama", seed=3)
    collate, source = Collator("isolated", EOS), [row(text(*range(20)))]
    own = writer(model)
    plain = own.write(collate(source), 0).batch["input_ids"]
    model.generation_config.repetition_penalty = 5.0
    model.generation_config.min_new_tokens = 12
    forward, config = model.forward, model.generation_config
    model.train()
    model.gradient_checkpointing_enable()
    assert torch.equal(own.write(collate(source), 0).batch["input_ids"], plain)
    assert model.training
    assert model.forward is forward
    assert model.generation_config is config


def test_all_tokens_that_end_an_answer_count():
    tokenizer = SimpleNamespace(eos_token_id=7)
    assert end_ids(tokenizer, SimpleNamespace(eos_token_id=[9, 7])) == [7, 9]
    assert end_ids(tokenizer, SimpleNamespace(eos_token_id=3)) == [3, 7]
    assert end_ids(tokenizer, None) == [7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_policy": 1.5}, "--on-policy 1.5"),
        ({"prompt_length": 0}, "--prompt-length 0"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0"),
        ({"sampling_temperature": 0.0}, "--sampling-temperature 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        OnPolicyConfig(**options)
