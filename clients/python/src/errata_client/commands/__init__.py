"""The commands of `errata-client`, one module for each subject: what they do, and the flags that they take."""
