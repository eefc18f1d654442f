"""``python -m workerpool`` is the command line."""

from workerpool.cli import main

if __name__ == "__main__":
    main()
