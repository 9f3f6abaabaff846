"""The fault laboratory: `make faults` breaks a real Lockstep in every way we can think of, and the judge looks on.

    lab          what a scenario gets: stacks, brokers, crowds, randomness; everything it starts ends with it
    load         people who talk at a steady pace while things break, and how long each of them waited
    outcome      what a scenario reports: figures, never a verdict on time
    moments      what exactly was under way when a channel server was killed
    scenarios/   the faults, one file a kind
    run, table   which scenarios, in what order, with which seed; the table at the end

A scenario fails by raising. It asserts counts and bytes (lost, doubled, gaps, decisions taken, memory), never times:
those are reported, because the machines that this runs on are shared.
"""
