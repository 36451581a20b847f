"""The libraries that reading and writing a release takes: one extra, and the command to paste where it is missing."""

from importlib.util import find_spec

from csrdata.errors import UserError


def need_hub_extra() -> None:
    """Say so before any work where a library is missing.

    Raises:
        UserError: the extra `hub` is not installed.
    """
    for name in ("pyarrow", "datasets", "huggingface_hub", "jinja2"):
        if find_spec(name) is None:
            raise UserError(
                "the libraries of a release",
                got=f"no {name}",
                expected="the extra hub",
                do="pip install 'csrdata[hub]'",
            )
