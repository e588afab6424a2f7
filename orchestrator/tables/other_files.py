"""Files that are given as run tables and are none: what they are, and what to do with them."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import BadInput

_FRAME: Final = "read it into a data frame and write that with to_csv, or give the frame to etalon.fit"
_UNPACK: Final = "decompress it first"

_BEGINNINGS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"PK\x03\x04", "a ZIP archive", "take the table out of it"),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Excel workbook or another Office file",
        "save its sheet as CSV UTF-8",
    ),
    (b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _UNPACK),
    (b"PAR1", "a Parquet file", _FRAME),
    (b"ARROW1", "an Arrow file", _FRAME),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x89PNG", "a PNG picture", "give the table that it was drawn from"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the table that it was drawn from"),
    (b"%PDF", "a PDF document", "give the table itself"),
    (b"{", "JSON", _FRAME),
    (b"[", "JSON", _FRAME),
    (b"<", "HTML or XML", "download the table itself"),
)
"""The first bytes of a file, what it is, and what to do."""


def refuse_other_files(data: bytes) -> None:
    """Refuse what is not separated values by its first bytes.

    Raises:
        BadInput: the file is empty or of another kind; the message says what to do.
    """
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start and not data.strip():
        raise BadInput(
            "The file is empty: a run table has a line with the names of its columns, and a row for each run."
        )
    if start.startswith(b"PK\x03\x04") and b"xl/" in data:
        raise BadInput("The file is an Excel workbook: save its sheet as CSV UTF-8, and give that.")
    for beginning, kind, advice in _BEGINNINGS:
        if start.startswith(beginning):
            raise BadInput(f"The file is {kind}, not a table of separated values (CSV): {advice}.")
