"""`python -m metastore` is the command line."""

from metastore.cli import main

if __name__ == "__main__":
    main()
