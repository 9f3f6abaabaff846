"""The people of a workspace: listing, roles, deactivating."""
