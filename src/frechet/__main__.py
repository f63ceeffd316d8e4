"""``frechet`` and ``python -m frechet``."""

import sys


def main() -> None:
    """Runs the command line, or says in one line what to install for it."""
    try:
        from frechet.workbench.cli import main
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        print('Error: the command line needs more: pip install "frechet[workbench]"', file=sys.stderr)
        sys.exit(2)
    main(sys.argv[1:])


if __name__ == "__main__":
    main()
