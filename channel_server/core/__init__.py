"""What a channel server decides: who is shown what, who may send, what a connection is told. No asyncio, no sockets.

Time comes in through a `Clock`, bytes leave through a `Link`, records leave through a `Log`: the shell around it
moves them. Everything here is one thread's and never blocks.
"""
