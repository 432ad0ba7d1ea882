"""Sequence classification with the same trainer: labels, texts, the lesson, and what the finished models cost."""
