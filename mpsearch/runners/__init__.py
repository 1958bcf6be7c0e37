"""What executes the trials of a study."""
