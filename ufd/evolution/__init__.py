"""The corridor: one time loop that moves any system and lets observers look."""
