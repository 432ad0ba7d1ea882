"""How far a measurement is: a line at the start, at most one in ten seconds, one at the end."""

from distill_eval.tell import telling


def test_lines_come_now_and_then_with_the_time_left():
    said, seconds = [], iter([0.0, 4.0, 12.0, 16.0, 20.0])
    items = list(telling(said.append, lambda: next(seconds))("importance", ["a", "b", "c", "d"]))
    assert items == ["a", "b", "c", "d"]
    assert said == ["importance: 0 of 4", "importance: 2 of 4, about 12 s left", "importance: 4 of 4, 20 s"]
