"""The payload of a record (docs/wal-format.md, "Payload of a record")."""

import base64
import hashlib
import hmac

from parts import Cursor, Wrong, crc

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BYTES, TEXT, HEX, NUMBER, EMPTY, HEADERS = "bytes", "text", "hex", "number", "empty", "headers"
# Tag: name, type, size if it is fixed.
FIELDS = {
    1: ("id", HEX, 25),
    2: ("kind", TEXT, None),
    3: ("topic", TEXT, None),
    4: ("key", BYTES, None),
    5: ("content_type", TEXT, None),
    6: ("traceparent", TEXT, None),
    7: ("idempotency_key", TEXT, None),
    8: ("repeat", HEX, 36),
    9: ("principal", TEXT, None),
    10: ("requeued_from", NUMBER, 8),
    11: ("value", BYTES, None),
    12: ("sealed", EMPTY, 0),
    13: ("headers", HEADERS, None),
    14: ("no_value", EMPTY, 0),
    128: ("claim", HEX, 16),
    129: ("fingerprint", HEX, 16),
    130: ("registered_at", NUMBER, 8),
}
REQUIRED = {"id", "kind", "topic", "content_type", "value"}


def decode(payload):
    """The fields by name; bytes stay bytes. Raises `Wrong`."""
    cursor, fields = Cursor(payload), {}
    version = cursor.u8()
    if version != 1:
        raise Wrong(f"version {version} of the payload is unknown")
    while cursor.left():
        tag, content = cursor.u8(), cursor.take(cursor.u32())
        if tag not in FIELDS:
            if tag < 128:
                raise Wrong(f"field {tag} is unknown")
            continue
        name, kind, size = FIELDS[tag]
        if name in fields:
            raise Wrong(f"field {name} is there twice")
        if size is not None and len(content) != size:
            raise Wrong(f"field {name} has {len(content)} bytes, not {size}")
        try:
            fields[name] = content.decode() if kind == TEXT else content
        except UnicodeDecodeError:
            raise Wrong(f"field {name} is not UTF-8") from None
        if kind == NUMBER:
            fields[name] = int.from_bytes(content, "little")
        elif kind == EMPTY:
            fields[name] = True
        elif kind == HEADERS:
            fields[name] = headers(content)
    if not REQUIRED <= fields.keys():
        raise Wrong(f"a field of {sorted(REQUIRED)} is missing")
    return fields


def headers(content):
    """Pairs of name and value, in order."""
    cursor, pairs = Cursor(content), []
    try:
        while cursor.left():
            pairs.append([cursor.take(cursor.u16()).decode(), cursor.take(cursor.u32()).decode()])
    except UnicodeDecodeError:
        raise Wrong("a header is not UTF-8") from None
    return pairs


def id_text(raw):
    number = int.from_bytes(raw, "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(40)))


def id_parts(raw, secret):
    """Time, first bytes of the log id, and LSN of a command id."""
    mask = hmac.new(secret, b"lsn" + raw[:10] + raw[16:], hashlib.sha256).digest()[:6]
    lsn = bytes(left ^ right for left, right in zip(raw[10:16], mask))
    return int.from_bytes(raw[:6], "big"), raw[6:10], int.from_bytes(lsn, "big")


def lane(key, lsn):
    return (lsn if key is None else crc(key)) & 0xFF


def shown(payload):
    """For JSON: its fields; without the key, nothing; what is no envelope, as it is."""
    if payload is None:
        return {"payload": None}
    try:
        return {"payload": _printable(decode(payload))}
    except Wrong as wrong:
        return {"payload": None, "unreadable": str(wrong), "payload_base64": base64.b64encode(payload).decode()}


def _printable(fields):
    """Ids as text, other bytes in hexadecimal or, where they may be long, base64."""
    printable = {}
    for _, (name, kind, _) in FIELDS.items():
        if name not in fields:
            continue
        value = fields[name]
        if name == "id":
            value = id_text(value)
        elif name == "repeat":
            commands = int.from_bytes(value[32:], "little")
            value = {"scope": value[:16].hex(), "body": value[16:32].hex(), "commands": commands}
        elif kind == HEX:
            value = value.hex()
        elif kind == BYTES:
            name, value = f"{name}_base64", base64.b64encode(value).decode()
        printable[name] = value
    return printable
