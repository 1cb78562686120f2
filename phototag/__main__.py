"""`python -m phototag`."""

from phototag.cli.main import main

if __name__ == "__main__":
    main()
