"""What clients learn of a runtime: types, metadata V14 and V15, runtime APIs."""
