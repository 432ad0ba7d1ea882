import pytest
from fakes.tiny_families import make_tokenizer

from distill_eval.distill.chat import check_template, encode_conversations
from distill_eval.errors import DataError, ModelError

CHATML = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKED = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] }}\n{% endgeneration %}"
    "{% else %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LAST_DIFFERS = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if loop.last and message['role'] == 'assistant' %}(thinks){% endif %}{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
STRICT = "{{ raise_exception('roles must alternate') if messages[0]['role'] != 'user' }}" + CHATML

SHORT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
LONG = [{"role": "system", "content": "Be brief."}, *SHORT, {"role": "user", "content": "And?"}, SHORT[1]]


def tokenizer_with(template):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def answers(tokenizer, conversation):
    """The text of each run of predicted tokens."""
    (tokens,) = encode_conversations(tokenizer, [conversation])
    runs, before = [], False
    for token, target in zip(tokens.ids_M.tolist(), tokens.target_M.tolist(), strict=True):
        if target and not before:
            runs.append([])
        if target:
            runs[-1].append(token)
        before = target
    return [tokenizer.decode(run) for run in runs]


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_answers_alone_are_predicted_with_what_ends_them(template):
    tokenizer = tokenizer_with(template)
    assert answers(tokenizer, SHORT) == ["So.\n"]
    assert answers(tokenizer, LONG) == ["So.\n", "So.\n"]


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_the_tokens_are_those_of_the_whole_conversation(template):
    tokenizer = tokenizer_with(template)
    (tokens,) = encode_conversations(tokenizer, [LONG])
    text = "<|system|>Be brief.\n<|user|>Why?\n<|assistant|>So.\n<|user|>And?\n<|assistant|>So.\n"
    assert tokenizer.decode(tokens.ids_M.tolist()) == text


def test_both_ways_agree():
    (by_prefix,) = encode_conversations(tokenizer_with(CHATML), [LONG])
    (marked,) = encode_conversations(tokenizer_with(MARKED), [LONG])
    assert by_prefix.ids_M.tolist() == marked.ids_M.tolist()
    assert by_prefix.target_M.tolist() == marked.target_M.tolist()


def test_a_conversation_without_an_answer_predicts_nothing():
    assert answers(tokenizer_with(CHATML), SHORT[:1]) == []
    assert answers(tokenizer_with(CHATML), SHORT[1:]) == []  # an answer to nothing


def test_the_last_answer_is_found_where_earlier_ones_cannot_be():
    tokenizer = tokenizer_with(LAST_DIFFERS)
    assert answers(tokenizer, SHORT) == ["(thinks)So.\n"]
    with pytest.raises(DataError, match="renders message 3 in another way when more follows"):
        encode_conversations(tokenizer, [LONG])


def test_what_the_template_refuses_is_said():
    with pytest.raises(DataError, match=r"refuses the conversation 'Be brief.': TemplateError: roles must alternate"):
        encode_conversations(tokenizer_with(STRICT), [LONG])


def test_no_template():
    with pytest.raises(ModelError, match="has no chat template, and the data are conversations"):
        check_template(tokenizer_with(None))
