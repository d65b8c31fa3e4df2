"""The root of what ends a measurement."""


class CannotMeasure(Exception):
    """The figures would be missing or wrong; the message says why."""
