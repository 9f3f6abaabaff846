"""Attacks on a running Lockstep. Each test is something that somebody without the right to it tries."""
