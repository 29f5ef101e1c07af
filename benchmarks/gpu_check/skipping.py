"""How a check says that this machine cannot run it."""

EXIT_STATUS = 77  # as automake's tests have it


class CannotRun(Exception):
    """The machine lacks what the check needs; the message says what."""
