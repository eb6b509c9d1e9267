"""Files that are written whole or not at all, and that tell when they were damaged since."""
