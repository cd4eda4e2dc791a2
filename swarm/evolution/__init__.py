"""The search: a state goes in, a better one comes out; its run folder."""
