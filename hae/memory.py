"""How much memory rows may take."""

from __future__ import annotations

import os

from hae.errors import BadInput

__all__ = ["memory_limit"]


def memory_limit() -> int:
    """Bytes that rows may take: HAE_MEMORY_LIMIT, such as 500M or 8G, else an eighth of the machine's memory."""
    text = os.environ.get("HAE_MEMORY_LIMIT")
    if not text:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8
    number, unit = (text[:-1], text[-1]) if text[-1] in "KMG" else (text, "")
    if not number.isdigit() or int(number) < 1:
        raise BadInput(f"HAE_MEMORY_LIMIT: {text!r} is not allowed; a whole number of bytes, or with K, M or G behind it")
    return int(number) * 1024 ** " KMG".index(unit or " ")
