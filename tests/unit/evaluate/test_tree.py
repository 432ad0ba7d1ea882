"""The plan computes every token under exactly its own predecessors, once, whatever the batch size."""

from hypothesis import given
from hypothesis import strategies as st

from distill_eval.evaluate.scorer.tree import TokenRequest, build_tree, common_prefix, plan


@st.composite
def requests(draw):
    """Requests over a small alphabet, so that they share beginnings in every possible way."""
    token = st.integers(0, draw(st.integers(1, 3)))
    preamble = draw(st.lists(token, max_size=40))
    texts = draw(st.lists(st.lists(token, min_size=1, max_size=12), min_size=1, max_size=12))
    made = []
    for text in texts:
        inputs = tuple(preamble) + tuple(text)
        size = draw(st.integers(1, len(inputs)))
        made.append(TokenRequest(inputs, tuple(draw(st.lists(token, min_size=size, max_size=size)))))
    return made


def walk(made, batch_tokens):
    """Follow the plan; returns what each target's row had read, and the number of tokens computed."""
    trunk, read, computed = [], {}, 0
    for batch in plan(build_tree(made), batch_tokens):
        assert batch.num_past <= len(trunk), "a trunk must be computed before what hangs from it"
        assert batch.num_tokens <= batch_tokens
        trunk = trunk[: batch.num_past]
        rows = []
        for segment in batch.segments:
            paths = []
            for token, depth, parent in zip(segment.tokens, segment.depths, segment.parents, strict=True):
                paths.append((trunk if parent < 0 else paths[parent]) + [token])
                assert len(paths[-1]) - 1 == depth
            assert segment.parents[: segment.stem_len] == list(range(-1, segment.stem_len - 1))
            rows.extend(paths)
        for row, request, target in batch.scores:
            assert (request, target) not in read, "a target is scored once"
            read[request, target] = rows[row]
        computed += batch.num_tokens
        if batch.keep:
            trunk = rows[-1]
    return read, computed


@given(requests(), st.sampled_from([1, 3, 7, 30, 1000]))
def test_every_target_is_predicted_from_exactly_its_request(made, batch_tokens):
    read, _ = walk(made, batch_tokens)
    expected = {
        (index, target): list(request.inputs[: len(request.inputs) - len(request.targets) + target + 1])
        for index, request in enumerate(made)
        for target in range(len(request.targets))
    }
    assert read == expected


@given(requests())
def test_a_batch_that_holds_everything_computes_each_distinct_prefix_once(made):
    prefixes = {request.inputs[: i + 1] for request in made for i in range(len(request.inputs))}
    assert walk(made, 10_000)[1] == len(prefixes)


def test_a_long_preamble_is_computed_once_and_a_short_one_is_not_worth_a_pass():
    def shared(size):
        return [TokenRequest((*range(size), 100 + i, 200 + i), (1,)) for i in range(10)]

    assert walk(shared(30), 40)[1] == 30 + 10 * 2
    assert walk(shared(3), 10)[1] == 10 * (3 + 2)


@given(st.lists(st.integers(0, 1), max_size=20), st.lists(st.integers(0, 1), max_size=20))
def test_common_prefix(a, b):
    size = common_prefix(tuple(a), tuple(b))
    assert a[:size] == b[:size]
    assert size == min(len(a), len(b)) or a[size] != b[size]
