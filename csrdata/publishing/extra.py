"""Check that the libraries for releases are installed: the extra `hub`."""

from importlib.util import find_spec

from csrdata.errors import UserError


def need_hub_extra() -> None:
    """Raise an error before any work if a library for releases is missing.

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
