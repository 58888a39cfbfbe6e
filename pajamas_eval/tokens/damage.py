"""Damage on purpose: noise on a model's weights, for a positive control."""

from blake3 import blake3


def seed_of(name: str) -> int:
    """Seed of the noise on the tensor of that name: the same on every machine."""
    return int.from_bytes(blake3(name.encode()).digest(length=6), "little")
