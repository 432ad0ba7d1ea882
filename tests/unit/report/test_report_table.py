"""Padding and footnotes of tables."""

from distill_eval.report.table import Cell, Column, display_width, grid, markdown_table


def test_equal_notes_share_a_number_in_reading_order() -> None:
    made = grid(
        [
            Column("left", (Cell("a"), Cell("-", ("second", "first"), missing=True))),
            Column("right", (Cell("-", ("first",), missing=True), Cell("-", ("first", "first"), missing=True))),
        ]
    )
    assert made.rows == (("a", "- (1)"), ("- (2) (1)", "- (1)"))
    assert made.notes == ("first", "second")


def test_a_column_is_empty_when_all_cells_are_missing() -> None:
    missing = Cell("-", missing=True)
    assert Column("x", (missing, missing)).empty
    assert not Column("x", (missing, Cell("1"))).empty


def test_markdown_is_padded_and_numbers_stand_right() -> None:
    text = markdown_table(
        grid([Column("task", (Cell("arc_easy"), Cell("a")), numeric=False), Column("n", (Cell("1,000"), Cell("7")))])
    )
    assert text.splitlines() == [
        "| task     |     n |",
        "| -------- | ----: |",
        "| arc_easy | 1,000 |",
        "| a        |     7 |",
    ]


def test_wide_and_combining_characters_are_counted_as_a_terminal_does() -> None:
    assert display_width("ab") == 2
    assert display_width("\u6a21\u578b") == 4
    assert display_width("e\u0301") == 1
    lines = markdown_table(grid([Column("x", (Cell("\u6a21\u578b"), Cell("abcdef")), numeric=False)])).splitlines()
    assert {display_width(line) for line in lines} == {10}
