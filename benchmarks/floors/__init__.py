"""Bare programs that the product is compared with: each does one thing with the libraries that the product uses."""
