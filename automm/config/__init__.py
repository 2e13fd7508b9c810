"""What a training run is told: typed structs, presets made of them, and a user's overrides."""
