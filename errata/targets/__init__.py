"""Targets: the vector z that a fact's hidden state should become, for many facts at once."""
