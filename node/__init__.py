"""The node floor: wires runtime, pallets, storage, network interfaces and the executor process together."""
