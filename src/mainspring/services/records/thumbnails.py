"""Smaller pictures of images, made by Pillow: the extra ``images``.

A room of its own, for it knows nothing of records, and Pillow may not be there.
"""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import msgspec

from mainspring import NotFound
from mainspring.kernel.pool import Pool
from mainspring.ports.blobs import Blobs

SIDE_MAX = 2_000
AT_ONCE = 2  # made by one process, each in a thread
WAITING_MAX = 256
WAITING_SHARE = 64
PIXELS_MAX = 50_000_000  # of the original: some 200 MB of memory, whatever few bytes it comes in
BYTES_MAX = 64 << 20
MISSING = "thumbnails are made by Pillow, which is not installed: pip install '.[images]'"

_SIZE = re.compile(r"(0|[1-9][0-9]{0,3})x(0|[1-9][0-9]{0,3})")
# What is read, as Pillow calls it, and what a thumbnail of it is written as.
_READ = {
    "image/jpeg": ("JPEG", "JPEG"), "image/png": ("PNG", "PNG"), "image/webp": ("WEBP", "WEBP"),
    "image/gif": ("GIF", "PNG"), "image/bmp": ("BMP", "PNG"), "image/tiff": ("TIFF", "JPEG"),
    "image/avif": ("AVIF", "WEBP"),
}  # fmt: skip
_MODES = {"JPEG": "RGB", "PNG": "RGBA", "WEBP": "RGBA"}


class NoThumbnail(NotFound):
    """There is none of this file; the detail says why."""


class Box(msgspec.Struct, frozen=True):
    """What a thumbnail fits into: cropped to both sides, or scaled to the one that is not 0."""

    width: int
    height: int


class Thumbnails:
    """Makes thumbnails when they are asked for first, and keeps them beside their originals."""

    def __init__(self) -> None:
        self._waiting = Pool("thumbnails", WAITING_MAX, WAITING_SHARE)
        self._making = asyncio.Semaphore(AT_ONCE)

    async def of(
        self, blobs: Blobs, blob: str, media_type: str, size: str, account: str
    ) -> tuple[str, AsyncIterator[bytes]]:
        """Return a thumbnail's media type and bytes, of which a few are in memory at a time.

        ``account`` is whose share of the waiting it is. Raises NoThumbnail, RateLimited,
        Unavailable.
        """
        made_type, key = media_type_of(media_type), key_of(blob, size)
        if not await _is_there(blobs, key):
            with self._waiting.place(account):
                async with self._making:
                    data = await _read(blobs, blob)
                    made = await asyncio.to_thread(make, data, media_type, box_of(size))
                    await blobs.put(key, _once(made), size_bytes_max=len(made))
        return made_type, blobs.get(key)


def key_of(blob: str, size: str) -> str:
    """The key that a thumbnail is kept under."""
    return f"{blob}-{size}"


def original_of(key: str) -> str:
    """The key of what a thumbnail was made of; of everything else its own."""
    return key.partition("-")[0]


async def _is_there(blobs: Blobs, key: str) -> bool:
    try:
        async for _ in blobs.get(key, 0, 1):
            pass
    except NotFound:
        return False
    return True


async def _read(blobs: Blobs, key: str) -> bytes:
    read = bytearray()
    async for chunk in blobs.get(key):
        read += chunk
        if len(read) > BYTES_MAX:
            raise NoThumbnail(f"the image has more than {BYTES_MAX} bytes")
    return bytes(read)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def box_of(size: str) -> Box:
    """Read ``200x200``, ``400x0`` or ``0x400``. Raises ValueError."""
    match = _SIZE.fullmatch(size)
    sides = (0, 0) if match is None else (int(match[1]), int(match[2]))
    if not 0 < max(sides) <= SIDE_MAX:
        raise ValueError(
            f"is a size such as 200x200, or 400x0 for a width alone, with sides up to {SIDE_MAX}"
        )
    return Box(*sides)


def can_be_made() -> bool:
    """Tell whether Pillow is there."""
    return find_spec("PIL") is not None


def media_type_of(original: str) -> str:
    """The media type of a thumbnail of this. Raises NoThumbnail."""
    if original not in _READ:
        raise NoThumbnail(f"a file of the type {original.partition(';')[0]} has no thumbnail")
    return f"image/{_READ[original][1].lower()}"


def make(data: bytes, media_type: str, box: Box) -> bytes:
    """Make a thumbnail, never larger than its original. Raises NoThumbnail. Takes a while.

    How it was held counts, and nothing else that was noted with it is kept: no place, no device.
    """
    from PIL import Image, ImageOps

    media_type_of(media_type)
    read, written = _READ[media_type]
    try:
        with Image.open(io.BytesIO(data), formats=(read,)) as original:
            if original.width * original.height > PIXELS_MAX:
                raise NoThumbnail(f"the image has more than {PIXELS_MAX} pixels")
            side = max(box.width, box.height)
            original.draft("RGB", (side, side))  # a JPEG is read no larger than it has to be
            turned = ImageOps.exif_transpose(original)
            picture = _scaled(turned.convert(_MODES[written]), box)
    except NoThumbnail:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise NoThumbnail("the image cannot be read: it may be broken") from error
    made = io.BytesIO()
    picture.save(made, written)
    return made.getvalue()


def _scaled(picture: Any, box: Box) -> Any:
    from PIL import Image, ImageOps

    width, height = picture.size
    if box.width and box.height:
        # As large as the original lets it be, in the proportions of the box.
        scale = min(1.0, width / box.width, height / box.height)
        sides = max(1, round(box.width * scale)), max(1, round(box.height * scale))
        return ImageOps.fit(picture, sides, Image.Resampling.LANCZOS)
    scale = min(1.0, box.width / width if box.width else box.height / height)
    sides = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.resize(sides, Image.Resampling.LANCZOS)
