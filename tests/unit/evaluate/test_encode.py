"""Spliced encodings are the tokenizer's own, and a tokenizer for which splicing is wrong is never spliced."""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from distill_eval.evaluate.scorer.encode import NUM_CHECKS, IncrementalEncoder

CORPUS = [
    "The following are multiple choice questions (with answers) about anatomy.",
    "Which of these is a bone? A. femur B. liver C. skin D. heart Answer: A",
    "It's 12.5% of what they'd said; the cat's on the mat.",
]
PREAMBLE = "\n\n".join(CORPUS * 3) + "\n\n"
QUESTIONS = ["Which bone is long?", "Where is the heart's wall", "What is 1.5 of them \u00e9t\u00e9"]
TEXTS = [
    PREAMBLE + q + tail for q in QUESTIONS for tail in ("\nAnswer:", "\nAnswer: A", "\nAnswer: the femur", " Answer")
]


def trained(pre_tokenizer, lead=False, normalizer=None):
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizer
    if normalizer:
        backend.normalizer = normalizer
    backend.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>"]))
    if lead:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


class Counting:
    def __init__(self, tokenizer):
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, text):
        self.calls += 1
        return self.tokenizer.encode(text)


@pytest.mark.parametrize("lead", [False, True])
def test_byte_level_bpe_is_spliced_and_exact(lead):
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), lead)
    direct = Counting(tokenizer)
    encode = IncrementalEncoder(tokenizer, direct)
    texts = TEXTS * 4
    assert [encode(text) for text in texts] == [tokenizer.encode(text) for text in texts]
    assert encode.is_incremental
    assert direct.calls < NUM_CHECKS + 5 < len(texts)


def test_words_that_carry_a_mark_of_the_texts_start_are_encoded_directly():
    tokenizer = trained(pre_tokenizers.Metaspace(prepend_scheme="first"))
    encode = IncrementalEncoder(tokenizer, tokenizer.encode)
    assert [encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_no_word_boundaries_means_no_splicing():
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(" ", "_")
    tokenizer.backend_tokenizer.pre_tokenizer = None
    assert not IncrementalEncoder(tokenizer, tokenizer.encode).is_incremental


def test_a_wrong_splice_is_found_and_never_returned():
    tokenizer = trained(pre_tokenizers.ByteLevel(add_prefix_space=False))

    def direct(text):  # a tokenizer whose tokens depend on the whole text
        return [*tokenizer.encode(text)[:-1], len(text)] if text.endswith("Answer: A") else tokenizer.encode(text)

    encode = IncrementalEncoder(tokenizer, direct)
    assert [encode(text) for text in TEXTS] == [direct(text) for text in TEXTS]
    assert not encode.is_incremental
