"""The shared words: events, envelope, frames, codes, ids, directory records. Pure data, imports nothing of ours.

Everything that crosses a process boundary is declared here once, so that a change of wire format is a change
of this folder. No I/O, no settings, no clocks.
"""
