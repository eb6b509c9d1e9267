"""What a command raises when it cannot do what it was asked to."""


class CommandError(Exception):
    """A failure that the user can act on, told in one sentence."""
