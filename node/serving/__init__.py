"""The paid answer service: vouchers, served models, receipts, settlement."""
