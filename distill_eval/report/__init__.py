"""What a person reads: pure functions from records to markdown and to terminal tables."""
