"""The one thread budget: what this process may use, divided in one place.

Libraries size their pools by the cores of the host, blind to the quota of a container; a budget
that every pool is told keeps them from fighting for the same two cores.
"""

from __future__ import annotations

import os
from pathlib import Path

from automm_serve.errors import ConfigError

VARIABLE = "AUTOMM_THREADS"

OPENMP_VARIABLE = "OMP_NUM_THREADS"
"""What users bound the threads of numerical libraries by; a bound of the budget too."""

TOKENIZER_VARIABLE = "RAYON_NUM_THREADS"
"""What the pool of `tokenizers` is told its size by; it has no call for it, and reads this once."""


def thread_budget(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many threads this process may keep busy, at least 1.

    The least of the affinity mask, the quota of the control group and ``OMP_NUM_THREADS``;
    ``AUTOMM_THREADS`` in the environment stands above all three.

    Args:
        cgroup: Where the control group of this process is mounted.

    Raises:
        ConfigError: The variable holds something else than a positive whole number.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is not None:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise ConfigError(
                where=f"environment variable {VARIABLE}",
                what=f"{wanted!r} is not a positive whole number",
                mend="Set it to the number of threads, or unset it",
            )
        return int(wanted)
    bounds = (_affinity(), _quota(cgroup), _openmp())
    return max(1, min(bound for bound in bounds if bound is not None))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _openmp() -> int | None:
    """The bound; None where there is none. OpenMP's form for nested levels counts by the first."""
    first = os.environ.get(OPENMP_VARIABLE, "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else None


def _quota(root: Path) -> int | None:
    """Whole cores that the control group grants (version 2, then 1); None where it sets none."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdecimal() or int(quota) == 0:  # "max" and -1 mean none
        return None
    return max(1, int(quota) // int(period))
