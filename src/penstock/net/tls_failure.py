"""Why TLS ends a connection, and how that is said.

It owns the words. They are OpenSSL's and ours, never the peer's own bytes.
"""

import re
import ssl

# As they are counted.
HANDSHAKE = "handshake"
CLIENT_NAME = "client_name"
BROKEN = "broken"
FRUITLESS = "fruitless"


def in_words(error: ssl.SSLError) -> str:
    """Return why OpenSSL gave up: its own reason, none of the peer's bytes."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate: {error.verify_message}"
    reason = error.reason or type(error).__name__
    if alert := re.fullmatch(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_(\w+)", reason):
        return f"the peer sent an alert: {alert[1].lower().replace('_', ' ')}"
    return reason.lower().replace("_", " ")


def what_else(data: bytes) -> str:
    """Return what the first bytes look like that are no TLS."""
    if re.match(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT) ", data):
        return "an HTTP request"
    if data.startswith((b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")):
        return "a header of the PROXY protocol"
    # An array of msgpack or JSON, or an object: forward specification v1.
    if re.match(rb"[\x90-\x9f\xdc\xdd\[{]", data):
        return "the forward protocol in plain text"
    return "unknown bytes"
