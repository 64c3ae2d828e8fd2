"""Text from a model or a tool, made safe to show: it may not control the user's terminal. Pure."""

# The picture of each control character (U+2400 …) shows what was there. A carriage return alone
# would let a line be overwritten; in CRLF it says nothing, so it goes.
_C0 = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t\r"}
# C1 holds the one-character forms of the escape sequences; bidirectional overrides make a command
# read as another one; half a surrogate pair cannot be written at all.
_REPLACED = [
    *range(0x80, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
]
_SAFE = {**_C0, 0x0D: None, 0x7F: "\u2421", **dict.fromkeys(_REPLACED, "\ufffd")}
_ONE_LINE = {**_SAFE, 0x0A: " ", 0x09: " ", 0x2028: " ", 0x2029: " "}


def plain(text: str) -> str:
    """The text without anything that a terminal obeys but line feeds and tabs."""
    return text.translate(_SAFE)


def one_line(text: str, width: int) -> str:
    """`plain`, on one line of at most `width` characters."""
    # Cut before and after: of a file's whole content only the beginning is worth the work.
    line = " ".join(text[: width * 4].translate(_ONE_LINE).split())
    return line if len(line) <= width and len(text) <= width * 4 else f"{line[: width - 1]}…"
