"""`python -m verify`."""

from verify.cli import app

if __name__ == "__main__":
    app()
