"""Commands of stakers and validators: stake, validator, signer."""
