"""Commands on datanets and what rows earn: datanet, claim, earnings."""
