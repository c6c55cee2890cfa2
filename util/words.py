"""Words around numbers."""


def counted(number: int, noun: str) -> str:
    """``1 image``, ``2 images``; the noun's plural ends in s."""
    return f"{number} {noun}{'s' * (number != 1)}"
