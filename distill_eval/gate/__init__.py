"""Rules that a student must keep to be shipped: from bounds and what was measured to verdicts (pure)."""
