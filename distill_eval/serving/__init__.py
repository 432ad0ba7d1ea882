"""A vLLM server of our own: a process with an address, never an import."""
