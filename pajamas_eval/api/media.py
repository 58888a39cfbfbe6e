"""What a prompt is made of: text, and images by their digests."""

from pathlib import Path

import msgspec
from blake3 import blake3

from pajamas_eval.errors import UsageError

IMAGE_MARK = "<image>"
"""Stands in a prompt's text where its next image belongs."""


class Image(msgspec.Struct, frozen=True):
    """A picture: what it is, and where it lies. Pixels are decoded where they are needed.

    Attributes:
        digest: BLAKE3 of the file's content, in hexadecimal: what answers are stored under.
        path: The file, which may lie elsewhere on another machine.
    """

    digest: str
    path: str

    @classmethod
    def of(cls, path: Path) -> "Image":
        """The picture in a file. Raises `UsageError` where it cannot be read."""
        try:
            return cls(blake3(path.read_bytes()).hexdigest(), str(path))
        except OSError as error:
            raise UsageError(f"cannot read the image {path}: {error.strerror}") from None


class Prompt(msgspec.Struct, frozen=True):
    """What a model is shown before it answers.

    Attributes:
        text: With `IMAGE_MARK` where an image belongs.
        images: In the order of their marks.
    """

    text: str
    images: tuple[Image, ...] = ()


def portable(text: str) -> bytes:
    """Text as bytes that give back every character, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")
