"""`python -m csrdata`: the command line, where the environment's `csrdata` is not on the path."""

from csrdata.cli import main

if __name__ == "__main__":
    main()
