"""The people of a workspace: listing, inviting, deactivating."""
