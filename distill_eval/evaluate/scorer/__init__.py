"""Score many (context, continuation) requests of one model as a prefix tree: every shared token is computed once."""
