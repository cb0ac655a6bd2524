"""Memory of a device."""

import os

import jax


def device_memory() -> int | None:
    """Return the bytes of memory of a local device, None if unknown. CPU devices share the machine's memory."""
    device = jax.local_devices()[0]
    if (limit := (device.memory_stats() or {}).get("bytes_limit")) is not None:
        return int(limit)
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()
