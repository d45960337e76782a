"""The genesis floor: chain specs, presets and development accounts."""
