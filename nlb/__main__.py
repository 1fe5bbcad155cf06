"""`python -m nlb`: the same door as the `nlb` command."""

from nlb.cli import main

if __name__ == "__main__":
    main()
