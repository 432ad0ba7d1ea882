import pytest
from fakes.tiny_families import make_tokenizer

from distill_eval.distill.text import encode_texts, end_of_text
from distill_eval.errors import ModelError

END = 257


def encoded(tokenizer, texts):
    return [(one.ids_M.tolist(), one.target_M.tolist()) for one in encode_texts(tokenizer, texts)]


def test_each_text_ends_with_eos_and_all_but_its_first_token_are_predicted():
    tokenizer = make_tokenizer()
    a, b, c = tokenizer("abc")["input_ids"]
    assert encoded(tokenizer, ["abc", "a"]) == [
        ([a, b, c, END], [False, True, True, True]),
        ([a, END], [False, True]),
    ]


def test_eos_is_not_doubled():
    tokenizer = make_tokenizer()
    (a,) = tokenizer("a")["input_ids"]
    assert encoded(tokenizer, ["a<eos>"]) == [([a, END], [False, True])]


def test_a_tokenizer_with_bos_predicts_the_first_word():
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 256)])
    (a,) = tokenizer("a", add_special_tokens=False)["input_ids"]
    assert encoded(tokenizer, ["a"]) == [([256, a, END], [False, True, True])]


def test_long_texts_are_not_cut_and_nobody_is_warned(caplog):
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 8
    assert len(encode_texts(tokenizer, ["x" * 50])[0].ids_M) == 51
    assert caplog.records == []


def test_a_tokenizer_without_eos_is_refused():
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="has no EOS token, which ends every document"):
        end_of_text(tokenizer)
