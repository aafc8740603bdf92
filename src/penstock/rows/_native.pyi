"""What the compiled encoder has for Python; see _native.pyx."""

class Encoder:
    def __init__(
        self, columns: tuple[tuple[str, ...], ...], max_field_bytes: int
    ) -> None: ...
    def encode(
        self,
        entries: bytes,
        offset: int,
        window_end: int,
        step_bytes: int,
        most: int,
        tag: bytes,
        next_id: int,
        now_microseconds: int,
        metadata: bytes | None,
        group: bytes | None,
        beside_left_bytes: int,
        part_beside_left_bytes: int,
        max_map_keys: int,
    ) -> tuple[bytes, int, list[int], int, int, int, int]: ...
