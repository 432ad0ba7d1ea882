"""How close two models' distributions over the next token are."""
