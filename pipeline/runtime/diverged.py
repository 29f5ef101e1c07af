"""The end of a training whose numbers are no longer finite."""


class Diverged(ValueError):
    """A loss or a gradient of a training that is no longer a finite number."""
