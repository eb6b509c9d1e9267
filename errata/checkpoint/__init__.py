"""A checkpoint on disk: where it lies, and whether it can be edited, told by its config and its files.

Nothing here imports PyTorch or transformers, so that what cannot work is said at once.
"""
