"""The audit log: what owners and admins did. `repository.record` is called in the transaction of the act itself."""
