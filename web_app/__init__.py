"""The web app: who may do what. REST over PostgreSQL; stateless, any number of copies.

One folder a domain: `endpoints` (HTTP in and out), `service` (the rules), `repository` (the SQL), `schemas` (what
travels). One request is one transaction, committed before the reply. What other processes must hear of goes into
the outbox in that transaction; messages go to a channel server, because the log decides their order.
"""
