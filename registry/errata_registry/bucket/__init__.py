"""A home for machines that share no file system: what counts is decided in a bucket of an object store."""
