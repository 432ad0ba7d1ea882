import hashlib
import random

import pytest
from fakes.tiny_families import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from distill_eval.bench.prompt_config import PromptConfig
from distill_eval.bench.prompts import check_contexts, draw, source
from distill_eval.errors import UsageError
from distill_eval.record import to_json_line
from distill_eval.schema.timing import Prompt


@pytest.fixture(scope="module")
def words():
    """Byte-level BPE with merges, a vocabulary of words, and tokens before and behind each text."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghij", k=rng.randint(3, 7))) for _ in range(900)]
    corpus = [" ".join(rng.choices(vocabulary, k=40)) for _ in range(200)]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2500,
        special_tokens=["<bos>", "<sep>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A <sep>", special_tokens=[("<bos>", 0), ("<sep>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", sep_token="<sep>")


@pytest.fixture(scope="module")
def pieces():
    """WordPiece, whose decoder puts the spaces between words, with tokens before and behind each text."""
    rng = random.Random(1)
    made = {"".join(rng.choices("abcdefghij", k=rng.randint(3, 7))) for _ in range(900)}
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(made), *(f"##{letter}" for letter in "abcdefghij")]
    backend = Tokenizer(models.WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


class Even:
    """A tokenizer whose texts have an even number of tokens, whatever they are."""

    all_special_ids = ()

    def get_vocab(self):
        return {"a": 0, "b": 1}

    def decode(self, ids, **options):
        return "".join(["a", "b", ""][number] for number in ids)

    def __call__(self, text, **options):
        ids = ["ab".index(letter) for letter in text]
        return {"input_ids": [*ids, *[2] * (len(ids) % 2)]}


def tokens(tokenizer, prompt):
    return tokenizer(prompt.text)["input_ids"]


@pytest.mark.parametrize("add_bos", [False, True])
def test_random_prompts_have_the_length_that_the_server_counts(add_bos):
    tokenizer = make_tokenizer(add_bos)
    prompts = draw(PromptConfig(random_input_len=37, random_output_len=5), tokenizer, 20, 0)
    assert [len(tokens(tokenizer, prompt)) for prompt in prompts] == [37] * 20
    assert {(prompt.num_tokens, prompt.max_tokens, prompt.offset_s) for prompt in prompts} == {(37, 5, None)}
    assert len({prompt.text for prompt in prompts}) == 20
    assert all(prompt.text.isprintable() for prompt in prompts)


def test_random_prompts_of_words_that_merge_have_it_too(words):
    heard = []
    prompts = draw(PromptConfig(random_input_len=64), words, 30, 0, say=heard.append)
    assert [len(tokens(words, prompt)) for prompt in prompts] == [64] * 30
    assert heard == []
    assert tokens(words, prompts[0])[:1] + tokens(words, prompts[0])[-1:] == [0, 1]
    assert {part.isalpha() for prompt in prompts for part in prompt.text.split()} == {True}


def test_a_length_that_no_text_has_is_said():
    heard = []
    prompts = draw(PromptConfig(random_input_len=7), Even(), 3, 0, say=heard.append)
    assert [prompt.num_tokens for prompt in prompts] == [8, 8, 8]
    [line] = heard
    assert line.startswith("3 random texts miss the length asked for, by up to 1 tokens")


def test_a_range_of_lengths_is_drawn_evenly():
    config = PromptConfig(random_input_len=20, random_output_len=10, random_range_ratio=0.5)
    prompts = draw(config, make_tokenizer(), 600, 0)
    lengths, answers = ({getattr(prompt, name) for prompt in prompts} for name in ("num_tokens", "max_tokens"))
    assert lengths == set(range(10, 31))
    assert answers == set(range(5, 16))
    assert sum(prompt.num_tokens for prompt in prompts) / 600 == pytest.approx(20, abs=4 * 6.06 / 600**0.5)


@pytest.mark.parametrize("name", ["random", "prefix"])
def test_the_seed_draws_and_a_longer_draw_begins_with_a_shorter_one(name, words):
    config = PromptConfig(dataset_name=name)
    prompts = draw(config, words, 4, 0)
    assert draw(config, words, 4, 0) == prompts
    assert draw(config, words, 6, 0)[:4] == prompts
    assert {prompt.text for prompt in draw(config, words, 4, 1)}.isdisjoint(prompt.text for prompt in prompts)


@pytest.mark.parametrize("kind", ["words", "pieces"])
def test_prompts_behind_a_beginning_share_its_tokens_and_no_more(kind, request):
    tokenizer = request.getfixturevalue(kind)
    config = PromptConfig(
        dataset_name="prefix",
        prefix_repetition_prefix_len=30,
        prefix_repetition_suffix_len=12,
        prefix_repetition_num_prefixes=2,
        output_len=3,
    )
    prompts = draw(config, tokenizer, 10, 0)
    ids = [tokens(tokenizer, prompt) for prompt in prompts]
    assert {len(row) for row in ids} == {42}
    assert {prompt.max_tokens for prompt in prompts} == {3}
    beginnings = [tuple(row[:30]) for row in ids]
    assert [beginnings[index % 2] for index in range(10)] == beginnings
    assert beginnings[0] != beginnings[1]
    assert len({row[30] for row in ids}) > 4


def test_a_length_without_room_for_text_is_refused(words):
    with pytest.raises(UsageError, match=r"prompts of 2 tokens: expected 3 or more; the tokenizer adds some to each"):
        draw(PromptConfig(random_input_len=2), words, 1, 0)


def test_prompts_longer_than_the_shortest_context_are_refused_with_both_numbers():
    prompts = [Prompt(text="short", num_tokens=5, max_tokens=5), Prompt(text="x" * 90, num_tokens=90, max_tokens=39)]
    check_contexts(prompts, {"teacher": 2048, "student": 129})
    with pytest.raises(UsageError) as error:
        check_contexts(prompts, {"teacher": 2048, "student": 128})
    assert str(error.value).startswith(
        "prompt 2 of 2 has 90 tokens and asks for 39: 129 together, and student reads 128. It begins with 'xxx"
    )


def test_the_source_says_what_was_sent():
    prompts = [Prompt(text="a", num_tokens=3, max_tokens=9), Prompt(text="b", num_tokens=7, max_tokens=4)]
    found = source("hf", prompts, ignore_eos=False, seed=5)
    assert (found.kind, found.num_prompts, found.num_prompt_tokens, found.max_tokens) == ("hf", 2, (3, 7), (4, 9))
    assert (found.ignore_eos, found.seed) == (False, 5)
    assert found.digest == hashlib.sha256("".join(map(to_json_line, prompts)).encode()).hexdigest()
    assert source("hf", prompts[::-1], ignore_eos=False, seed=5).digest != found.digest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"random_output_len": 0}, "--random-output-len 0: expected 1 or more tokens"),
        ({"random_range_ratio": 1.0}, "--random-range-ratio 1.0: expected 0 or more, below 1"),
        ({"output_len": 8}, "--output-len belongs to --dataset-name prefix or sharegpt or sonnet or hf or trace"),
        ({"dataset_name": "sharegpt"}, "--dataset-name sharegpt needs --dataset-path: a JSON file of ShareGPT's form"),
        ({"dataset_name": "hf", "dataset_path": "x", "random_input_len": 3}, "--random-input-len belongs to"),
        (
            {"dataset_name": "prefix", "prefix_repetition_num_prefixes": 0},
            "--prefix-repetition-num-prefixes 0: expected 1 or more",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    with pytest.raises(UsageError) as error:
        PromptConfig(**options)
    assert str(error.value).startswith(said)


def test_no_prompts_are_refused():
    with pytest.raises(UsageError, match="--num-prompts 0: expected 1 or more"):
        draw(PromptConfig(), make_tokenizer(), 0, 0)
