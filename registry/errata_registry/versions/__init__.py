"""The versions of a home folder: their files, fact sets and changes."""
