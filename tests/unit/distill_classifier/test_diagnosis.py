"""Findings of a classifier's training are about its accuracy."""

from distill_eval.distill.diagnosis import diagnose
from distill_eval.schema.distill import Validation


def validation(loss, accuracy):
    return Validation(
        hard_loss=loss,
        perplexity=2.0,
        kl=None,
        top1_agreement=None,
        teacher_entropy=None,
        num_tokens=100,
        accuracy=accuracy,
        macro_f1=accuracy,
    )


def told(before, after, teacher=None):
    return " ".join(finding.text for finding in diagnose((), before=before, after=after, teacher=teacher))


def test_a_teacher_has_to_be_more_accurate_than_the_student_was():
    before, after = validation(1.0, 0.5), validation(0.5, 0.8)
    assert told(before, after, validation(2.0, 0.9)) == ""  # a loss above the student's: sure of its few mistakes
    assert "accuracy on the validation texts is 0.5000, not above the student's 0.5000" in told(
        before, after, validation(0.1, 0.5)
    )


def test_a_student_that_labels_more_texts_right_has_learnt_whatever_its_loss():
    assert told(validation(1.0, 0.5), validation(1.1, 0.6)) == ""
    assert "nats per text: the student did not learn" in told(validation(1.0, 0.5), validation(1.0, 0.5))
