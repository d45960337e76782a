"""The description of a runtime for clients: types, metadata V14 and V15, runtime APIs."""
