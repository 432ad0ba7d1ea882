"""How distributions over a vocabulary are kept in few bytes: which ids, and how they and their numbers lie."""
