"""A teacher answers prompts: the data set of response-based distillation."""
