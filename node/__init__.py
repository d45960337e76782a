"""The node floor: wires runtime, pallets, storage, interfaces and the executor process."""
