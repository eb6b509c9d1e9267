"""Errata's library: what an edit is, how it is computed and measured. Usable from a notebook, without any service."""
