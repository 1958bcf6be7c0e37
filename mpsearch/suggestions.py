"""Suggestions: what a name that doesn't exist was probably meant to be."""

from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str], quote: str = "", before: str = "") -> str:
    """A question for a name that doesn't exist; empty where none is like it.

    Args:
        name: as it was typed.
        known: the names that there are.
        quote: put around the suggested name.
        before: put in front of the question, where there is one.

    >>> suggestion("flsh", ["flash", "ram"], "`", before="; ")
    '; did you mean `flash`?'
    >>> suggestion("time", ["flash", "ram"])
    ''
    """
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"{before}did you mean {quote}{close[0]}{quote}?" if close else ""
