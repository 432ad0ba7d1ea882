"""Accuracy, macro F1 and the paired test against their libraries and the textbook."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from distill_eval.distill.classifier.counts import accuracy, count_labels, macro_f1
from distill_eval.distill.classifier.measure import paired

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(pairs, st.integers(0, 40))
def test_counts_add_up_to_scikit_learns_figures(drawn, cut):
    labels, found = (torch.tensor(values) for values in zip(*drawn, strict=True))
    parts = [count_labels(labels[rows], found[rows], 5) for rows in (slice(0, cut), slice(cut, None))]
    counts = (parts[0] + parts[1]).tolist()
    assert accuracy(counts) == pytest.approx(accuracy_score(labels, found))
    assert macro_f1(counts) == pytest.approx(f1_score(labels, found, average="macro", zero_division=0))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_paired_test_is_the_sign_test_of_the_texts_that_changed(drawn):
    teacher, student = (torch.tensor(values) for values in zip(*drawn, strict=True))
    found = paired(teacher, student)
    worse, better = sum(t and not s for t, s in drawn), sum(s and not t for t, s in drawn)
    assert (found.num_pairs, found.num_only_teacher, found.num_only_student) == (len(drawn), worse, better)
    expected = binomtest(better, better + worse, 0.5).pvalue if better + worse else 1.0
    assert found.p_value == pytest.approx(expected)
