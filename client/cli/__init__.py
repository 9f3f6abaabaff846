"""The `lockstep` command: what a person types. Everything it does goes through the library of the folder above."""
