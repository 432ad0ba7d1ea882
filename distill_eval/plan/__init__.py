"""Before a distillation: sizes, memory, time and price, what to expect, and how many documents will tell."""
