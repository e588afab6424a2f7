"""``python -m etalon``: the ``etalon`` command."""

from etalon.cli.main import main

if __name__ == "__main__":
    main()
