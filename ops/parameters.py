"""What a caller may ask for, with the error that tells him so."""

from collections.abc import Iterable


class BadParameter(ValueError):
    """A parameter out of its bounds; the text is for the caller."""


def within(name: str, value: int, least: int, most: int) -> int:
    """The value, or BadParameter when it is not in least..most."""
    if not least <= value <= most:
        raise BadParameter(f"{name}={value} is not between {least} and {most}")
    return value


def one_of(name: str, value: str, allowed: Iterable[str]) -> str:
    """The value, or BadParameter when it is none of the allowed ones."""
    names = list(allowed)
    if value not in names:
        raise BadParameter(f"{name}={value!r} is none of {', '.join(names)}")
    return value


def whole(name: str, text: str) -> int:
    """A number of at most 18 digits, or BadParameter."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadParameter(f"{name}={text!r} is not a whole number")
    return int(text)
