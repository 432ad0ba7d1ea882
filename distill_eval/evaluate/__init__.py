"""Score models on lm-eval's tasks, document by document."""
