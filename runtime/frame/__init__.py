"""The framework of pallets: state, storage, dispatch, extrinsics, fees, execution of blocks."""
