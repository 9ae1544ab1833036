"""`python -m generator` is `tritongen`."""

from generator.cli import main

if __name__ == "__main__":
    main()
