"""Lost events hunted in a store, under each ordering or under its own."""
