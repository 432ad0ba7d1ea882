import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_eval.errors import UsageError
from distill_eval.student.layers import check_syntax, parse_dropped, parse_layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("0", [0]),
        ("0,1,2,5-9", [0, 1, 2, 5, 6, 7, 8, 9]),
        (" 0 , 3-4 ", [0, 3, 4]),
        ("7-7", [7]),
        ("::2", [0, 2, 4, 6, 8]),
        ("1::4", [1, 5, 9]),
        (":3", [0, 1, 2]),
        ("8:", [8, 9]),
        (":", list(range(10))),
        ("0-2,4:8:2,9", [0, 1, 2, 4, 6, 9]),
        ("0-9", list(range(10))),
    ],
)
def test_reads(text, layers):
    assert parse_layers(text, 10) == tuple(layers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--keep-layers is empty: expected numbers, ranges and slices such as 0,1,2,5-9 or ::2"),
        ("  ", "--keep-layers is empty"),
        ("0,,1", "'' is not a layer"),
        ("0,a", "--keep-layers '0,a': 'a' is not a layer: expected numbers"),
        ("-1", "'-1' is not a layer"),
        ("1.5", "'1.5' is not a layer"),
        ("1:2:3:4", "'1:2:3:4' is not a layer"),
        ("::0", "the step of '::0' is 0"),
    ],
)
def test_refuses_syntax_without_knowing_the_teacher(text, message):
    with pytest.raises(UsageError) as error:
        check_syntax(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "'10' goes beyond the teacher's layers, which are 0 to 9"),
        ("0,5-10", "'5-10' goes beyond the teacher's layers, which are 0 to 9"),
        ("0:11", "'0:11' goes beyond the teacher's layers"),
        ("10::1", "'10::1' goes beyond the teacher's layers"),
        ("5-3", "'5-3' names no layer of the teacher's 10"),
        ("4:4", "'4:4' names no layer"),
        ("0,1,1,2-4,3", "names 1, 3 more than once"),
        ("5-9,0", "is not in ascending order: layers keep the teacher's order. Type 0,5,6,7,8,9"),
    ],
)
def test_refuses_layers_that_do_not_fit_the_teacher(text, message):
    check_syntax(text)
    with pytest.raises(UsageError) as error:
        parse_layers(text, 10)
    assert message in str(error.value)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))))
def test_a_written_out_list_reads_back(case):
    num_layers, layers = case
    assert parse_layers(",".join(map(str, sorted(layers))), num_layers) == tuple(sorted(layers))


@given(st.integers(1, 60), st.data())
def test_slices_are_pythons(num_layers, data):
    start = data.draw(st.integers(0, num_layers - 1))
    stop = data.draw(st.integers(start + 1, num_layers))
    step = data.draw(st.integers(1, num_layers))
    assert parse_layers(f"{start}:{stop}:{step}", num_layers) == tuple(range(num_layers))[start:stop:step]


@pytest.mark.parametrize(("text", "kept"), [("0", [1, 2, 3, 4]), ("::2", [1, 3]), ("1-3", [0, 4]), ("0,2:4", [1, 4])])
def test_dropped_layers_are_the_others(text, kept):
    assert parse_dropped(text, 5) == tuple(kept)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":", "--drop-layers ':' leaves none of the teacher's 5 layers"),
        ("5", "--drop-layers '5': '5' goes beyond the teacher's layers, which are 0 to 4"),
        ("x", "--drop-layers 'x': 'x' is not a layer"),
    ],
)
def test_refuses_to_drop(text, message):
    with pytest.raises(UsageError) as error:
        parse_dropped(text, 5)
    assert message in str(error.value)
