"""The judge: did a run keep the four properties of atomic broadcast?

It compares what clients were shown (recordings), REST history, PostgreSQL and the raw Kafka log, and believes none
of them. Nothing of the product is imported here, on purpose: the envelope's layout and the numbering rule are
written a second time, from the design, so that a defect in the servers cannot hide in their judge.

    findings, spans, ledger     what a broken rule looks like, sets of numbers, who showed what first
    lines, view, stream         a client's recording, and the view that it describes
    numbering                   the rule that turns the log into numbers
    judge                       the decision, without I/O
    sources                     files, REST, PostgreSQL, Kafka
    report, cli                 figures, the first counter-example of each broken rule, exit codes 0, 1 and 2
"""
