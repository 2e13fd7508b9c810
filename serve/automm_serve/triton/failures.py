"""What goes wrong between a client and a server, as errors of ours that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from automm_serve.errors import AutoMMError, SchemaError, ServerError
from automm_serve.triton import OTHER_BUNDLE
from automm_serve.triton.exchange import Address


class OtherBundleError(Exception):
    """The server refused a request that was written for another bundle."""


@contextmanager
def translated(address: Address, timeout_s: float) -> Iterator[None]:
    """Turn what tritonclient and the network raise into an error of ours.

    Raises:
        ServerError: There is no answer, or the server failed.
        SchemaError: The server refuses the table.
        OtherBundleError: The request was written for another bundle.
    """
    try:
        yield
    except AutoMMError:
        raise
    except Exception as error:  # the boundary of the process: four libraries share no root
        message = getattr(error, "message", None)
        text = str(message() if callable(message) else error) or type(error).__name__
        status = getattr(error, "status", None)
        code = str(status() if callable(status) else "").removeprefix("StatusCode.")
        if OTHER_BUNDLE in text:
            raise OtherBundleError from error
        raise _explain(address, timeout_s, error, code, text) from error


def changing(address: Address) -> ServerError:
    """Return the error for a model whose bundle changes faster than a table is asked."""
    return ServerError(
        where=str(address),
        what="the bundle was swapped each time that the table was asked",
        mend="Ask again, with fewer rows at a time",
    )


def _explain(
    address: Address, timeout_s: float, error: Exception, code: str, text: str
) -> AutoMMError:
    where = str(address)
    if code == "DEADLINE_EXCEEDED" or isinstance(error, TimeoutError) or "timed out" in text:
        return ServerError(
            where=where,
            what=f"there is no answer within {timeout_s:g} s",
            mend="Pass a larger timeout_s, or see whether the server is overloaded",
        )
    if "maximum queue size" in text or "Request timeout expired" in text:
        return ServerError(
            where=where,
            what=f"the server is overloaded: {text}",
            mend="Ask fewer rows at a time, or give the server more instances of the model",
        )
    if "unknown model" in text or "is not found" in text:
        return ServerError(
            where=where,
            what=f"the server has no model {address.name!r} that is loaded",
            mend="Check the name after the last '/', and that the server has loaded it",
        )
    if code in ("INVALID_ARGUMENT", "400"):
        return SchemaError(
            where=where,
            what=f"the server refuses the request: {text.rstrip('.')}",
            mend="Mend the table as it says",
        )
    if code == "UNAVAILABLE" or (not code and isinstance(error, OSError)):
        return ServerError(
            where=where,
            what=f"no server answers there: {text}",
            mend="Check host and port, or start one",
            command="automm serve BUNDLE",
        )
    return ServerError(where=where, what=text, mend="Look into the server's log for the cause")
