"""A limit of time that holds for all that a fit does: what comes after training is reserved."""

from __future__ import annotations

from time import monotonic

_BYTES_PER_S = 100e6
"""At which weights are written, hashed and flushed, at least."""

_SAVING_S = 0.5
_NEW = 0.5
"""Weight of the last measurement: a machine that was busy once need not be so again. Averaging
stops in time all the same, as each further average asks for it."""

_GUESSES = 4

_SLACK = 0.03
"""Of the whole time that is not planned with."""

_CAREFUL = 1.15
"""What was measured may take that much longer the next time."""


class Clock:
    """Knows what is left, and what averaging, comparing and saving will cost.

    Args:
        deadline: By ``time.monotonic``; None for no limit.
        size_bytes: Of the weights.
        rival_share: Of the time so far, that the linear model may take.
        begun: When the fit was asked for.
    """

    def __init__(
        self,
        deadline: float | None,
        *,
        size_bytes: int = 0,
        rival_share: float = 0.0,
        begun: float | None = None,
    ) -> None:
        self.deadline = deadline
        self.size_bytes = size_bytes
        self.rival_share = rival_share
        self.begun = monotonic() if begun is None else begun
        self._step_s = 0.0
        self._validate_s: float | None = None
        self._guesses: list[float] = []

    @property
    def spent(self) -> float:
        """Seconds since the fit was asked for."""
        return monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds until the deadline; without one, infinite."""
        return float("inf") if self.deadline is None else self.deadline - monotonic()

    @property
    def validate_s(self) -> float:
        """Seconds that a validation takes: what the last ones took, or a guess."""
        known = self._validate_s
        return min(self._guesses, default=0.0) if known is None else known

    def wants_guess(self, validations: int) -> bool:
        """Whether nothing is known of validations, or a guess alone would end training here."""
        if self.deadline is None or self._validate_s is not None:
            return False
        enough = len(self._guesses) >= _GUESSES
        return not self._guesses or (not enough and self.is_over(validations))

    @property
    def save_s(self) -> float:
        """Seconds that saving the predictor takes."""
        return _SAVING_S + self.size_bytes / _BYTES_PER_S

    def stepped(self, seconds: float) -> None:
        """Learn from a step."""
        self._step_s = _smooth(self._step_s or None, seconds)

    def guessed(self, seconds: float) -> None:
        """Take a guess of what a validation takes; the least one counts, until one was timed."""
        self._guesses.append(seconds)

    def validated(self, seconds: float) -> None:
        """Learn from a validation."""
        self._validate_s = _smooth(self._validate_s, seconds)

    def is_over(self, validations: int) -> bool:
        """Tell whether another step would leave too little for what comes after.

        Args:
            validations: That are still to come: of the last state, of averages, of what is kept.
        """
        if self.deadline is None:
            return False
        averages = validations * (self.validate_s + self.size_bytes / (5 * _BYTES_PER_S))
        slack = _SLACK * (self.deadline - self.begun)
        after = averages * _CAREFUL + self.save_s + self.rival_share * self.spent + slack
        return self.left < self._step_s * _CAREFUL + after

    def allows(self, validations: int) -> bool:
        """Tell whether so many validations fit in before saving."""
        return self.left > validations * self.validate_s * _CAREFUL + self.save_s

    def rival_budget(self) -> float:
        """Return the seconds that the linear model may take; 0 where none are left."""
        left = self.left - self.save_s - self.validate_s
        return max(0.0, min(self.rival_share * self.spent, left))


def _smooth(before: float | None, now: float) -> float:
    return now if before is None else max(now, _NEW * now + (1 - _NEW) * before)
