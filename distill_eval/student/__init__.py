"""The student before training: a teacher with some of its decoder layers left out."""
