"""The market of answers, simulated: what each strategy of lying earns on the real pallets."""
