"""Check the computer: its memory, and how many folders it can watch."""

from __future__ import annotations

from pathlib import Path

from phototag.doctor.check import Check, State, gib, state_of

_FEW_WATCHES = 65_536
_LITTLE_MEMORY_BYTES, _NO_MEMORY_BYTES = 1 << 30, 256 << 20


def check_memory() -> Check:
    """Check how much memory is free."""
    free = _free_memory_bytes()
    if free is None:
        return Check("memory", State.OK, "this system does not say how much is free")
    state = state_of(free, little=_LITTLE_MEMORY_BYTES, none=_NO_MEMORY_BYTES)
    remedy = None if state is State.OK else "end other programs, or use a smaller --batch-size and fewer --workers"
    return Check("memory", state, f"{gib(free)} free", remedy, {"free_bytes": free})


def _free_memory_bytes() -> int | None:
    """Return what programs can still get; in a container, of what it may have."""
    free = None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    try:
        most, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return free  # no container, or one without a limit
    return min(free, most - used) if free is not None else most - used


def check_inotify() -> Check:
    """Check how many folders Linux lets this user watch."""
    from phototag.library import inotify_limits

    limits = inotify_limits()
    if not limits:
        return Check("inotify", State.OK, "not on this system; phototag watch has other ways")
    values = {name: limits[name] for name in ("max_user_watches", "max_user_instances")}
    text = f"{values['max_user_watches']:,} folders can be watched"
    if values["max_user_watches"] < _FEW_WATCHES:
        remedy = (
            "echo fs.inotify.max_user_watches=524288 | sudo tee /etc/sysctl.d/60-phototag.conf && sudo sysctl --system"
        )
        return Check("inotify", State.WARNING, f"only {text}; with more, changes are found late", remedy, values)
    return Check("inotify", State.OK, text, values=values)
