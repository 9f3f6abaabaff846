"""Tests on real servers and processes; fixtures in conftest.py."""
