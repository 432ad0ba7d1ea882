"""How text is cut into chunks, and what other tokenizers make of them."""

import json

import pytest
from fakes.tiny_families import make_tokenizer
from fakes.two_tokenizers import byte_level, fallback

from distill_eval.calibration import TextSource
from distill_eval.errors import UsageError
from distill_eval.fidelity.text import cut, encode, locate_tokens, same_tokens
from distill_eval.fidelity.unlike import Said, compare, first_difference

TEXT = "First.\n\nCaf\u00e9 and 5, twice.\n" * 40
LINES = ["caf\u00e9 and the first bone", "who is where and how"]


def source(path, **changes):
    return TextSource(str(path), 3, 16, seed=None, option="--text")._replace(**changes)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "text.txt"


def test_a_text_file_is_read_as_it_is_and_cut_as_llama_cpp_cuts_it(path):
    tokenizer = make_tokenizer()
    text = cut(source(path), tokenizer, "second-half", name="m")
    ids = tokenizer(TEXT)["input_ids"][:48]
    assert [chunk.ids for chunk in text.chunks] == [ids[:16], ids[16:32], ids[32:48]]
    assert [chunk.first for chunk in text.chunks] == [8, 8, 8]
    assert [chunk.targets().tolist() for chunk in text.chunks] == [ids[9:16], ids[25:32], ids[41:48]]
    assert text.chunks[0].before + text.chunks[0].scored == TEXT[:15]  # 16 bytes, of which two are one letter
    assert text.num_bytes().sum() == 3 * 7
    assert text.facts.seed is None


def test_line_ends_are_kept(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\r\ntwo\rthree\n" * 10)
    text = cut(source(path), make_tokenizer(), "all", name="m")
    assert text.whole[:15] == "one\r\ntwo\rthree\n"
    assert text.ids[:5] == make_tokenizer()("one\r\n")["input_ids"]


def test_all_positions_that_have_a_next_token_can_be_scored(path):
    text = cut(source(path), make_tokenizer(), "all", name="m")
    assert [len(chunk.targets()) for chunk in text.chunks] == [15, 15, 15]
    assert text.chunks[0].before == TEXT[0]


def test_the_token_that_begins_a_text_takes_the_first_place_of_every_chunk(path):
    tokenizer = make_tokenizer(add_bos=True)
    plain = make_tokenizer()(TEXT)["input_ids"]
    text = cut(source(path), tokenizer, "second-half", name="m")
    bos = tokenizer.bos_token_id
    assert text.chunks[0].ids == [bos, *plain[:15]]
    assert text.chunks[1].ids == [bos, *plain[16:31]]  # llama.cpp replaces the token; it is not scored
    assert text.chunks[1].scored.encode().startswith(bytes([TEXT.encode()[24]]))


def test_documents_are_strung_together_with_line_breaks_and_read_as_far_as_needed(tmp_path):
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": f"line {n}"}) + "\n" for n in range(500)))
    text = cut(source(tmp_path / "text.jsonl"), make_tokenizer(), "all", name="m")
    assert text.whole.startswith("line 0\nline 1\nline 2\n")
    assert len(text.whole) < 500  # 48 tokens need 48 letters here, and five times as many are read at first


def test_more_is_read_where_letters_are_fewer_than_expected(tmp_path):
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": "caf\u00e9 and"}) + "\n" for _ in range(500)))
    tokenizer = byte_level(LINES, 400)  # tokens of up to seven letters
    text = cut(source(tmp_path / "text.jsonl", num_samples=20), tokenizer, "all", name="m")
    assert len(text.ids) >= 320
    assert text.chunks[-1].ids == text.ids[304:320]


def test_a_short_text_says_what_would_fit(path):
    with pytest.raises(UsageError, match=r"has 1,120 tokens, and 200 chunks of 16 need 3,200: .* --text-samples 70"):
        cut(source(path, num_samples=200), make_tokenizer(), "all", name="m")
    with pytest.raises(UsageError, match=r"or type --text-length 1120"):
        cut(source(path, num_samples=1, length=2000), make_tokenizer(), "all", name="m")


def test_tokens_are_the_same_only_with_the_same_numbers_and_cuts(path):
    tokenizer = byte_level(LINES, 300)
    text = cut(source(path), tokenizer, "all", name="m")
    assert same_tokens(text, byte_level(LINES, 300), tokenizer)
    assert not same_tokens(text, byte_level(LINES, 270), tokenizer)
    assert not same_tokens(text, make_tokenizer(), tokenizer)


@pytest.mark.parametrize("make", [byte_level, fallback])
def test_tokens_are_located(make):
    tokenizer = make(LINES, 320)
    ids, ends = locate_tokens(LINES[0], tokenizer, "m")
    assert ids == encode(LINES[0], tokenizer)
    assert ends == sorted(ends)
    assert ends[-1] == len(LINES[0])


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        (Said("same", False), Said("same", False), None),
        (Said("sane", False), Said("same", False), 2),
        (Said("same", False), Said("same and more", False), None),
        (Said("same", True), Said("same and more", False), 4),
        (Said("same and more", False), Said("same", True), 4),
        (Said("", True), Said("x", True), 0),
    ],
)
def test_where_texts_differ(one, other, place):
    assert first_difference(one, other) == place


def test_texts_side_by_side():
    one = [Said("abc", False), Said("abcdef", False), Said("x", False), Said("x", False)]
    other = [Said("abd", False), Said("abcdeX", False), Said("x", False), Said("x", False)]
    found = compare(one, other, 5)
    assert (found.agreement, found.median_first_difference) == (0.5, 3.5)
    assert [text.first_difference for text in found.texts] == [2, 5, None, None]
    assert compare(one[2:], other[2:], 5).median_first_difference is None
