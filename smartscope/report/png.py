"""How an array of bytes becomes a PNG inside the page (PNG 1.2 specification, ISO/IEC 15948)."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt


def encode(image: npt.NDArray[np.uint8]) -> bytes:
    """An (H, W) grey image as the bytes of a PNG file."""
    height, width = image.shape
    plain = np.zeros((height, width + 1), np.uint8)
    plain[:, 1:] = image
    upward = plain.copy()  # filter 2: each row as its difference to the one above; smaller for smooth images alone
    upward[1:, 1:] -= image[:-1]
    upward[:, 0] = 2
    smaller = min((zlib.compress(rows.tobytes(), 9) for rows in (plain, upward)), key=len)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", smaller), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_uri(image: npt.NDArray[np.uint8]) -> str:
    """The PNG as an address that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode()


def stretched(image: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Grey values 0 at ``low`` to 255 at ``high``."""
    scale = 255 / (high - low) if high > low else 0.0
    grey: npt.NDArray[np.uint8] = np.clip((image.astype(np.float32) - low) * scale + 0.5, 0, 255).astype(np.uint8)
    return grey


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
