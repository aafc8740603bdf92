"""What the compiled shortcut has for Python; see _lone_events.pyx."""

def take(
    buffer: bytearray,
    start: int,
    most_frames: int,
    most_bytes: int,
    max_frame_bytes: int,
) -> tuple[bytes, bytes, int, int, bool]: ...
def stands_at(buffer: bytearray, start: int, max_frame_bytes: int) -> bool: ...
