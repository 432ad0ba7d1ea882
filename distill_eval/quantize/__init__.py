"""Make INT8 and INT4 variants of a model that engines load, and measure what that did to it."""
