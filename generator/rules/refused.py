"""How a rule says no."""


class Refused(Exception):
    """A server would not load this model; `str()` is its own sentence."""
