"""Labels of data, student and teachers in one order, or a refusal with both lists."""

import pytest

from distill_eval.distill.classifier.labels import DataLabels, ModelLabels, agree
from distill_eval.errors import UsageError

DATA = DataLabels(("joy", "anger", "fear"), "declared")
UNNAMED = ("LABEL_0", "LABEL_1", "LABEL_2")


def model(*names, ref="m"):
    return ModelLabels(ref, names)


def test_an_encoder_takes_the_order_of_its_teacher_or_else_of_the_data():
    assert agree(DATA, None, []).names == DATA.names
    order = agree(DATA, None, [model("fear", "joy", "anger")])
    assert order.names == ("fear", "joy", "anger")
    assert order.of_data == {"joy": 1, "anger": 2, "fear": 0}
    assert order.of_teachers == ((0, 1, 2),)


def test_every_teacher_is_read_in_the_students_order():
    student, teachers = model("anger", "fear", "joy"), [model("joy", "anger", "fear"), model("Fear", "JOY", "Anger")]
    order = agree(DATA, student, teachers)
    assert order.names == student.names
    for teacher, numbers in zip(teachers, order.of_teachers, strict=True):
        assert [teacher.names[number].lower() for number in numbers] == list(student.names)
    assert {name: order.names[number] for name, number in order.of_data.items()} == {name: name for name in DATA.names}


def test_names_that_differ_in_case_alone_are_kept_apart():
    data = DataLabels(("A", "a"), "text")
    order = agree(data, model("a", "A"), [])
    assert order.of_data == {"A": 1, "a": 0}


def test_unnamed_labels_are_in_the_datas_own_order():
    order = agree(DATA, model(*UNNAMED), [model(*UNNAMED)])
    assert order.names == DATA.names
    assert order.of_teachers == ((0, 1, 2),)
    named = agree(DATA, model("fear", "anger", "joy"), [model(*UNNAMED)])
    assert named.of_teachers == ((2, 1, 0),)


def test_integers_are_label_numbers():
    data = DataLabels(("0", "2"), "integers")
    order = agree(data, None, [model("joy", "anger", "fear")])
    assert order.of_data == {"0": 0, "2": 2}
    assert agree(data, None, [model(*UNNAMED)]).names == ("0", "1", "2")
    stars = DataLabels(("-1", "1"), "integers")
    assert agree(stars, None, []).of_data == {"-1": 0, "1": 1}


def refused(*arguments):
    with pytest.raises(UsageError) as caught:
        agree(*arguments)
    return str(caught.value)


def test_what_cannot_be_one_order_is_refused_with_both_lists():
    said = refused(DATA, None, [model("joy", "anger")])
    assert "it does not know 'fear'" in said
    assert "'joy', 'anger', 'fear'" in said
    said = refused(DATA, model("joy", "anger", "fear"), [model("joy", "anger", "fear", "love", ref="t")])
    assert "--teacher t has 4 labels and m 3" in said
    said = refused(DataLabels(("a", "b"), "text"), None, [model("LABEL_0", "LABEL_1", ref="t")])
    assert "t calls its labels 'LABEL_0', 'LABEL_1', and the data's are 'a', 'b'" in said
    numbers = DataLabels(("0", "1"), "integers")
    said = refused(numbers, model("a", "b"), [model("b", "a", ref="t")])
    assert "m: 'a', 'b'; t: 'b', 'a'" in said
    said = refused(DATA, model(*UNNAMED[:2], ref="s"), [model("joy", "anger", "fear", ref="t")])
    assert "--student s has 2 labels, and t has 'joy', 'anger', 'fear'" in said
