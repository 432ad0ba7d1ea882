"""The only package that imports lm_eval: its tasks, its requests, its metrics, and our model for it."""
