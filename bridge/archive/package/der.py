"""DER (X.690), as much of it as a time stamp needs: write a request, walk through an answer; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONTEXT_0: Final = 0xA0
CONTEXT_1: Final = 0xA1


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag, its content, and all its bytes."""

    tag: int
    content: bytes
    encoded: bytes

    def children(self) -> Iterator["Element"]:
        """Yield the elements inside; raises ValueError."""
        rest = self.content
        while rest:
            element, rest = _first(rest)
            yield element

    def expect(self, tag: int) -> "Element":
        """Return the element if it has this tag; raises ValueError."""
        if self.tag != tag:
            raise ValueError(f"element 0x{self.tag:02x} where 0x{tag:02x} belongs")
        return self

    def integer(self) -> int:
        """Return the value of an INTEGER; raises ValueError."""
        return int.from_bytes(self.expect(INTEGER).content, "big", signed=True)

    def identifier(self) -> str:
        """Return an OBJECT IDENTIFIER in dotted form; raises ValueError."""
        content = self.expect(OBJECT_IDENTIFIER).content
        if not content or content[-1] & 0x80:
            raise ValueError("an object identifier ends too early")
        numbers: list[int] = []
        value = 0
        for byte in content:
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                numbers.append(value)
                value = 0
        first = min(numbers[0] // 40, 2)
        return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:]))


def parse(data: bytes) -> Element:
    """Return the one element that these bytes are; raises ValueError."""
    element, rest = _first(data)
    if rest:
        raise ValueError("bytes follow the last element")
    return element


def encode(tag: int, *contents: bytes) -> bytes:
    """Return an element."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def encode_integer(value: int) -> bytes:
    """Return a non-negative INTEGER."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _first(data: bytes) -> tuple[Element, bytes]:
    if len(data) < 2 or data[0] & 0x1F == 0x1F:
        raise ValueError("an element ends too early")
    size, start = data[1], 2
    if size & 0x80:
        digits = size & 0x7F
        start += digits
        # Four bytes of length are more than any time stamp has; 0 is the indefinite form, which is not DER.
        if not 1 <= digits <= 4 or len(data) < start:
            raise ValueError("an element has no proper length")
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise ValueError("an element ends too early")
    end = start + size
    return Element(data[0], data[start:end], data[:end]), data[end:]
