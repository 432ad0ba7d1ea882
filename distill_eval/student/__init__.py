"""The student before training: a teacher with fewer layers or narrower ones, or a new model of its kind."""
