"""Methods that wrap another method and apply it to other inputs or targets."""
