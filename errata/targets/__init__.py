"""Targets: the vector z that each fact's hidden state should become, searched for many facts at once."""
